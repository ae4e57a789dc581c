"""Both sides' verdicts on the same rows, and why they differ where they do."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import parity_causes, parity_lm_eval
from benchmarks.parity_rows import Collection, Row
from verifiers import Verdict, verify_many


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One row on which the two sides differ. `fault` is whose verdict the label contradicts."""

    metric: str
    collection: str
    id: str
    gold: str
    response: str
    right: bool | None
    ours: bool
    our_outcome: str
    our_answer: str | None
    theirs: bool
    their_answer: str
    their_gold: str
    fault: str
    cause: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of lm-eval on one collection, beside our verdict under the same rule.

    `seconds` are theirs and ours, of one pass in this process.
    """

    metric: str
    convention: str
    collection: str
    rows: int
    labelled: int
    right: int
    ours: int
    theirs: int
    ours_as_labelled: int
    theirs_as_labelled: int
    disagreements: tuple[Disagreement, ...]
    seconds: tuple[float, float]


CONVENTIONS = {"strict-match": "gsm8k_strict", "flexible-extract": "gsm8k", "math_verify": "math"}
"""Our convention with the rule of each metric: strict-match reads `#### n` and nothing else."""


def compare(collections: Sequence[Collection], data: Path, limit: int | None) -> list[Compared]:
    """Judge every row both ways."""
    tasks = {
        "gsm8k": parity_lm_eval.task("gsm8k", data),
        "math": parity_lm_eval.task("minerva_math", data),
    }
    found = []
    for collection in collections:
        rows = collection.rows[:limit]
        print(f"{collection.name}: {len(rows):,} rows", file=sys.stderr, flush=True)
        start = time.perf_counter()
        if collection.task == "gsm8k":
            scores = parity_lm_eval.gsm8k_scores(tasks["gsm8k"], rows)
        else:
            scores = {"math_verify": parity_lm_eval.math_verify_scores(tasks["math"], rows)}
        theirs = (time.perf_counter() - start) / len(scores)
        for metric, scored in scores.items():
            start = time.perf_counter()
            verdicts = verify_many(
                [(row.response, row.gold) for row in rows],
                convention=CONVENTIONS[metric],
                timeout=5.0,
                workers=1,
            )
            seconds = (theirs, time.perf_counter() - start)
            found.append(_compared(metric, collection.name, rows, scored, verdicts, seconds))
    return found


def _compared(
    metric: str,
    collection: str,
    rows: Sequence[Row],
    scored: Sequence[tuple[bool, str]],
    verdicts: Sequence[Verdict],
    seconds: tuple[float, float],
) -> Compared:
    differing = [
        _disagreement(metric, collection, row, score, verdict)
        for row, score, verdict in zip(rows, scored, verdicts, strict=True)
        if score[0] is not verdict.correct
    ]
    labelled = [i for i, row in enumerate(rows) if row.right is not None]
    return Compared(
        metric=metric,
        convention=CONVENTIONS[metric],
        collection=collection,
        rows=len(rows),
        labelled=len(labelled),
        right=sum(bool(row.right) for row in rows),
        ours=sum(verdict.correct for verdict in verdicts),
        theirs=sum(right for right, _ in scored),
        ours_as_labelled=sum(verdicts[i].correct is rows[i].right for i in labelled),
        theirs_as_labelled=sum(scored[i][0] is rows[i].right for i in labelled),
        disagreements=tuple(differing),
        seconds=seconds,
    )


def _disagreement(
    metric: str, collection: str, row: Row, score: tuple[bool, str], verdict: Verdict
) -> Disagreement:
    found = Disagreement(
        metric=metric,
        collection=collection,
        id=row.id,
        gold=row.gold,
        response=row.response,
        right=row.right,
        ours=verdict.correct,
        our_outcome=verdict.outcome.value,
        our_answer=verdict.extracted,
        theirs=score[0],
        their_answer=score[1] or parity_lm_eval.parsed(row.response),
        their_gold="" if score[1] else parity_lm_eval.parsed(row.solution),
        fault="unlabelled"
        if row.right is None
        else "lm-eval"
        if verdict.correct is row.right
        else "ours",
        cause="",
    )
    return dataclasses.replace(found, cause=parity_causes.cause(found))
