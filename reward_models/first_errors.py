"""First-error F1 as ProcessBench defines it (arXiv:2412.06559, section 3).

A judge names the first step whose score lies below a threshold, or none. On solutions with an error
it is right if it names the first wrong step, on solutions without one if it names none; the figure
is the harmonic mean of the two accuracies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Rows = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class FirstErrors:
    """The two accuracies and their harmonic mean; None where there are no such solutions."""

    threshold: float
    wrong: int
    right: int
    accuracy_wrong: float | None
    accuracy_right: float | None
    f1: float | None


def first_error(values: Sequence[float], threshold: float) -> int | None:
    """Return the index of the first value below the threshold, None if there is none."""
    return next((step for step, value in enumerate(values) if value < threshold), None)


def first_errors(scores: Rows, labels: Rows, *, threshold: float = 0.5) -> FirstErrors:
    """Compare the first errors that scores name with those of labels (below one half)."""
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for row, (given, wanted) in enumerate(zip(scores, labels, strict=True)):
        if len(given) != len(wanted):
            raise ValueError(f"row {row}: {len(given)} scores for {len(wanted)} labels")
        truth = first_error(wanted, 0.5)
        hits[truth is None].append(first_error(given, threshold) == truth)
    right, wrong = (
        sum(found) / len(found) if found else None for found in (hits[True], hits[False])
    )
    f1 = None
    if right is not None and wrong is not None:
        f1 = 2 * right * wrong / (right + wrong) if right + wrong else 0.0
    return FirstErrors(threshold, len(hits[False]), len(hits[True]), wrong, right, f1)


def best_threshold(scores: Rows, labels: Rows) -> float:
    """Return the threshold of the highest F1 among 0.05, 0.10, ..., 0.95.

    Choose it on validation rows, as ProcessBench does, never on those that are reported.
    """
    grid = [step / 20 for step in range(1, 20)]
    # Of equal ones the nearest to one half: the least fitted to these rows.
    return max(
        grid,
        key=lambda t: (first_errors(scores, labels, threshold=t).f1 or 0.0, -abs(t - 0.5)),
    )
