"""What a reward model's scores follow beside the labels: the class, and the length of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reward_models.diagnostics import Array
from reward_models.types import LabeledSolution


@dataclass(frozen=True, slots=True)
class Bias:
    """Means of right and of wrong solutions, and what length does to the score.

    Right is `LabeledSolution.right`. `length_*` are mean characters. `score_by_length` is
    Spearman's rank correlation of score and length among solutions of one class, averaged over the
    classes by their rows: a judge that looks at length beyond what it says of correctness is away
    from 0. None where undefined.
    """

    score_right: float | None
    score_wrong: float | None
    length_right: float | None
    length_wrong: float | None
    score_by_length: float | None

    def as_row(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return asdict(self)


def bias(scores: Sequence[Sequence[float]], rows: Sequence[LabeledSolution]) -> Bias:
    """Return the figures of the last ends' scores; `scores[i]` belongs to `rows[i]`."""
    if len(scores) != len(rows):
        raise ValueError(f"{len(scores)} rows of scores for {len(rows)} solutions")
    last = np.array([row[-1] for row in scores], dtype=np.float64)
    length = np.array([len(row.text) for row in rows], dtype=np.float64)
    right = np.array([row.right for row in rows], dtype=bool)
    found = [
        (int(chosen.sum()), rho)
        for chosen in (right, ~right)
        if (rho := spearman(last[chosen], length[chosen])) is not None
    ]
    total = sum(count for count, _ in found)
    return Bias(
        _mean(last[right]),
        _mean(last[~right]),
        _mean(length[right]),
        _mean(length[~right]),
        sum(count * rho for count, rho in found) / total if total else None,
    )


def spearman(one: Array, other: Array) -> float | None:
    """Return Spearman's rank correlation, ties at their mean rank; None if either is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Array) -> Array:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2)[place]
    return ranks


def _mean(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None
