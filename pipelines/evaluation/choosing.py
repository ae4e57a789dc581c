"""Several samples of a question: pass@k, and accuracy when votes or a reward model choose.

Each figure of a question is its mean over all subsets of k of its samples
(`reward_models/best_of.py`); a task's is the mean over questions, with a bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipelines.evaluation.figures import WRONG
from pipelines.evaluation.scoring import AGGREGATIONS
from pipelines.evaluation.votes import answers
from pipelines.report.intervals import means_over_questions
from reward_models.best_of import Candidate, best_score, majority, pass_at

Row = Mapping[str, Any]
Figure = Callable[[int, int], float]
"""Maps a question's place and k to the mean over its subsets of k samples."""


def choices(
    groups: Sequence[Sequence[Row]],
    verifier: str,
    sizes: Sequence[int],
    scores: Sequence[Sequence[Sequence[float]]] | None = None,
) -> dict[str, Any]:
    """Return the figures of a task's samples as JSON.

    Args:
        groups: the samples of each question.
        verifier: the convention by which two answers are the same.
        sizes: the k.
        scores: a reward model's step values of each sample of each question.

    Returns:
        `metrics` holds for "pass", "maj" and, with scores, "rm_" and each aggregation: for each k,
        `value`, `low` and `high`.
    """
    everything = [row for group in groups for row in group]
    candidates = _candidates(groups, verifier)
    figures: dict[str, Figure] = {
        "pass": lambda question, k: pass_at(candidates[question], k),
        "maj": lambda question, k: majority(candidates[question], k),
    }
    if scores is not None:
        for name, aggregate in AGGREGATIONS.items():
            scored = [
                [
                    Candidate(c.problem_id, aggregate(values), c.correct, c.answer)
                    for c, values in zip(group, found, strict=True)
                ]
                for group, found in zip(candidates, scores, strict=True)
            ]
            figures[f"rm_{name}"] = _chosen(scored)
    return {
        "answers": len(everything),
        "correct": sum(row["outcome"] == "correct" for row in everything),
        **{kind: sum(row["outcome"] == kind for row in everything) for kind in WRONG},
        "truncated": sum(row["finish"] == "length" for row in everything),
        "tokens": sum(row["tokens"] for row in everything),
        "metrics": _estimates(figures, len(groups), sizes),
    }


def _candidates(groups: Sequence[Sequence[Row]], verifier: str) -> list[list[Candidate]]:
    votes = answers(groups, verifier)
    return [
        [
            Candidate(row["problem_id"], 0.0, row["outcome"] == "correct", vote)
            for row, vote in zip(group, voted, strict=True)
        ]
        for group, voted in zip(groups, votes, strict=True)
    ]


def _chosen(scored: Sequence[Sequence[Candidate]]) -> Figure:
    return lambda question, k: best_score(scored[question], k)


def _estimates(
    figures: Mapping[str, Figure], questions: int, sizes: Sequence[int]
) -> dict[str, dict[str, dict[str, float]]]:
    names = [(name, k) for name in figures for k in sizes]
    values_QF = np.array(
        [[figures[name](question, k) for name, k in names] for question in range(questions)]
    )
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in figures}
    for (name, k), estimate in zip(names, means_over_questions(values_QF), strict=True):
        found[name][str(k)] = asdict(estimate)
    return found
