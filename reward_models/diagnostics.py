"""How good a reward model is: discrimination, calibration, and order within a problem.

A figure that the rows do not define is None: an AUROC of one class is not 0.5. Labels of one half
and more count as right where a figure needs classes; calibration uses the labels as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10
POSITIONS = 64
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of the reliability plot: ends whose score lies in [low, high)."""

    low: float
    high: float
    ends: int
    mean_score: float
    mean_label: float


@dataclass(frozen=True, slots=True)
class Position:
    """The k-th step of all solutions that have one, counted from 1."""

    step: int
    ends: int
    positive_share: float
    mean_score: float
    auroc: float | None


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Figures of scores against labels.

    Over all ends: `auroc`, `average_precision`, `brier`, `ece` (expected calibration error in ten
    equal bins), `accuracy` at one half. Over solutions, by their last ends: `outcome_auroc`,
    `pair_accuracy` (within a problem, the share of pairs of a right and a wrong solution that the
    scores order rightly, ties half; what GRPO uses), `rank_correlation` (Kendall's tau-b within a
    problem, mean over the problems that define it), `score_mean` and `truth_mean`.
    """

    rows: int
    ends: int
    problems: int
    positive_share: float
    score_mean: float
    truth_mean: float
    auroc: float | None
    average_precision: float | None
    brier: float
    ece: float
    accuracy: float
    outcome_auroc: float | None
    pair_accuracy: float | None
    pairs: int
    rank_correlation: float | None
    bins: tuple[Bin, ...]
    positions: tuple[Position, ...]

    def as_row(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return asdict(self)


def diagnose(
    scores: Sequence[Sequence[float]],
    labels: Sequence[Sequence[float]],
    problem_ids: Sequence[str],
) -> Diagnostics:
    """Compare probabilities with labels: one row a solution, one number an end.

    Raises ValueError for no rows, rows of unequal lengths, and scores that are no probabilities.
    """
    check_rows(scores, labels, problem_ids)
    flat_scores, flat_labels = flatten(scores), flatten(labels)
    hard = flat_labels >= 0.5
    last_scores = np.array([row[-1] for row in scores], dtype=np.float64)
    last_labels = np.array([row[-1] for row in labels], dtype=np.float64)
    bins = reliability(flat_scores, flat_labels)
    right, pairs = ordered_pairs(last_scores, last_labels, problem_ids)
    return Diagnostics(
        rows=len(scores),
        ends=len(flat_scores),
        problems=len(set(problem_ids)),
        positive_share=float(hard.mean()),
        score_mean=float(last_scores.mean()),
        truth_mean=float(last_labels.mean()),
        auroc=auroc(flat_scores, hard),
        average_precision=average_precision(flat_scores, hard),
        brier=float(np.mean((flat_scores - flat_labels) ** 2)),
        ece=sum(bar.ends * abs(bar.mean_score - bar.mean_label) for bar in bins) / len(flat_scores),
        accuracy=float(np.mean((flat_scores >= 0.5) == hard)),
        outcome_auroc=auroc(last_scores, last_labels >= 0.5),
        pair_accuracy=right / pairs if pairs else None,
        pairs=pairs,
        rank_correlation=rank_correlation(last_scores, last_labels, problem_ids),
        bins=bins,
        positions=by_position(scores, labels),
    )


def check_rows(
    scores: Sequence[Sequence[float]],
    labels: Sequence[Sequence[float]],
    problem_ids: Sequence[str],
) -> None:
    """Refuse rows that cannot be compared."""
    if not scores:
        raise ValueError("no solutions to diagnose; sample some or enlarge the held-out share")
    if not len(scores) == len(labels) == len(problem_ids):
        raise ValueError(
            f"{len(scores)} rows of scores, {len(labels)} of labels, {len(problem_ids)} problem "
            "ids; expected as many of each"
        )
    for row, (given, wanted) in enumerate(zip(scores, labels, strict=True)):
        if len(given) != len(wanted) or not given:
            raise ValueError(
                f"row {row} ({problem_ids[row]}): {len(given)} scores for {len(wanted)} labels; "
                "expected one score an end, and an end at least"
            )
        bad = [score for score in given if not 0 <= score <= 1]
        if bad:
            raise ValueError(
                f"row {row} ({problem_ids[row]}): score {bad[0]!r} is no probability in [0, 1]"
            )


def flatten(rows: Sequence[Sequence[float]]) -> Array:
    """Return all ends' values as one vector."""
    return np.array([value for row in rows for value in row], dtype=np.float64)


def auroc(scores: Array, right: NDArray[np.bool_]) -> float | None:
    """Return the area under the ROC curve, None if there is one class."""
    if right.all() or not right.any():
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(right, scores))


def average_precision(scores: Array, right: NDArray[np.bool_]) -> float | None:
    """Return the area under the precision-recall curve, None if there is one class."""
    if right.all() or not right.any():
        return None
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(right, scores))


def reliability(scores: Array, labels: Array) -> tuple[Bin, ...]:
    """Return the occupied ones of ten equal bins; a score of 1 belongs to the last."""
    index = np.minimum((scores * BINS).astype(int), BINS - 1)
    return tuple(
        Bin(
            bar / BINS,
            (bar + 1) / BINS,
            int((index == bar).sum()),
            float(scores[index == bar].mean()),
            float(labels[index == bar].mean()),
        )
        for bar in range(BINS)
        if (index == bar).any()
    )


def groups(problem_ids: Sequence[str]) -> list[NDArray[np.intp]]:
    """Return the row numbers of each problem."""
    found: dict[str, list[int]] = defaultdict(list)
    for row, problem_id in enumerate(problem_ids):
        found[problem_id].append(row)
    return [np.array(rows) for rows in found.values()]


def ordered_pairs(scores: Array, labels: Array, problem_ids: Sequence[str]) -> tuple[float, int]:
    """Return how many pairs of one problem are ordered rightly (ties half), and the pairs."""
    right, pairs = 0.0, 0
    for rows in groups(problem_ids):
        good, bad = scores[rows][labels[rows] >= 0.5], scores[rows][labels[rows] < 0.5]
        gaps = good[:, None] - bad[None, :]
        right += float((gaps > 0).sum() + 0.5 * (gaps == 0).sum())
        pairs += gaps.size
    return right, pairs


def rank_correlation(scores: Array, labels: Array, problem_ids: Sequence[str]) -> float | None:
    """Return the mean of Kendall's tau-b over the problems whose scores and labels both vary."""
    taus = []
    for rows in groups(problem_ids):
        signs_score = np.sign(scores[rows][:, None] - scores[rows][None, :])
        signs_label = np.sign(labels[rows][:, None] - labels[rows][None, :])
        untied = float(np.abs(signs_score).sum()) * float(np.abs(signs_label).sum())
        if untied:
            taus.append(float((signs_score * signs_label).sum()) / untied**0.5)
    return float(np.mean(taus)) if taus else None


def by_position(
    scores: Sequence[Sequence[float]], labels: Sequence[Sequence[float]]
) -> tuple[Position, ...]:
    """Return the figures of the first step positions: outputs with a thousand lines are few."""
    longest = min(POSITIONS, max(len(row) for row in scores))
    found = []
    for step in range(longest):
        here = np.array([row[step] for row in scores if len(row) > step], dtype=np.float64)
        right = np.array([row[step] for row in labels if len(row) > step]) >= 0.5
        found.append(
            Position(
                step + 1,
                len(here),
                float(right.mean()),
                float(here.mean()),
                auroc(here, right),
            )
        )
    return tuple(found)
