"""What decontamination found, in lines for the terminal and as a JSON record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.decontamination.cleaning import Findings, Pair
from pipelines.decontamination.overlap import KINDS

SHOWN = 5
"""Pairs that are printed; the record has them all."""

EXCERPT = 400
"""Characters of a question in the record."""


def lines(found: Findings) -> Iterator[str]:
    """Yield what was compared and found, and the first questions that were left out."""
    if found.settings is None:
        yield "decontamination is off: training questions may be those of the evaluation"
        return
    for compared in found.compared:
        counts = found.counts(compared.task)
        kinds = [
            f"{counts[kind]} {kind} ({_past(found.settings.action(kind))})"
            for kind in KINDS
            if counts[kind]
        ]
        yield (
            f"decontamination: {found.trained} training questions against {compared.task} "
            f"({compared.questions}): {', '.join(kinds) or 'none alike'}"
        )
    for task in found.passed_over:
        yield f"decontamination: {task} is what is trained on; its accuracy is that of the fit"
    dropped = list(found.dropped.values())
    for pair in sorted(dropped, key=lambda pair: -pair.similarity)[:SHOWN]:
        yield (
            f"  left out {pair.train.id} for {pair.evaluation.id}, {pair.kind} "
            f"{pair.similarity:.2f}: {' '.join(pair.train.question.split())[:80]!r}"
        )
    if len(dropped) > SHOWN:
        yield f"  ... {len(dropped)} in all; decontamination.json in the run directory lists them"


def record(found: Findings) -> dict[str, Any]:
    """Return everything that was compared and found, for RUN/decontamination.json."""
    return {
        "settings": None if found.settings is None else found.settings.model_dump(mode="json"),
        "training_questions": found.trained,
        "left_out": sorted(found.dropped),
        "compared": [
            {
                "task": compared.task,
                "questions": compared.questions,
                "fingerprint": compared.fingerprint,
                "by": compared.by,
                "found": {kind: found.counts(compared.task)[kind] for kind in KINDS},
            }
            for compared in found.compared
        ],
        "passed_over": list(found.passed_over),
        "pairs": [_pair(pair) for pair in found.pairs],
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "kind": pair.kind,
        "similarity": round(pair.similarity, 4),
        "action": pair.action,
        "task": pair.task,
        "train_id": pair.train.id,
        "evaluation_id": pair.evaluation.id,
        "train_question": pair.train.question[:EXCERPT],
        "evaluation_question": pair.evaluation.question[:EXCERPT],
        "train_answer": pair.train.answer,
        "evaluation_answer": pair.evaluation.answer,
    }


def _past(action: str) -> str:
    return {"drop": "left out", "report": "kept"}.get(action, action)
