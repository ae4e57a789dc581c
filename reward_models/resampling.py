"""Figures of a reward model as functions of how often each problem counts.

With weight 1 for every problem they are the figures of `diagnostics`; with the counts of a
bootstrap sample of problems, those of the resampled set, a problem drawn twice being two problems.
All that does not depend on the weights is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reward_models.diagnostics import BINS, Array, flatten, groups, ordered_pairs

Rows = Sequence[Sequence[float]]
Weighted = Callable[[Array], float | None]
"""Maps weights_P, one a problem in order of appearance, to a figure; None where undefined."""


def _problem_of_ends(scores: Rows, problem_ids: Sequence[str]) -> NDArray[np.intp]:
    order = {problem_id: place for place, problem_id in enumerate(dict.fromkeys(problem_ids))}
    places = [order[name] for name, row in zip(problem_ids, scores, strict=True) for _ in row]
    return np.array(places, dtype=np.intp)


def auroc(scores: Rows, labels: Rows, problem_ids: Sequence[str]) -> Weighted:
    """Weight of pairs of ends in right order, ties half, over the weight of all pairs."""
    flat = flatten(scores)
    order = np.argsort(flat, kind="stable")
    problem_N = _problem_of_ends(scores, problem_ids)[order]
    right_N = (flatten(labels) >= 0.5)[order]
    # Ends of equal scores form one block: within it every pair is a tie.
    block_N = np.concatenate([[0], np.cumsum(np.diff(flat[order]) > 0)]).astype(int)

    def figure(weights_P: Array) -> float | None:
        weights_N = weights_P[problem_N]
        good_K = np.bincount(block_N, weights_N * right_N)
        bad_K = np.bincount(block_N, weights_N * ~right_N)
        pairs = good_K.sum() * bad_K.sum()
        below_K = np.cumsum(bad_K) - bad_K
        return float((good_K * (below_K + 0.5 * bad_K)).sum() / pairs) if pairs else None

    return figure


def pair_accuracy(scores: Rows, labels: Rows, problem_ids: Sequence[str]) -> Weighted:
    """Share of right-wrong pairs of one problem that the last ends order rightly."""
    last = np.array([row[-1] for row in scores], dtype=np.float64)
    truth = np.array([row[-1] for row in labels], dtype=np.float64)
    counts = [
        ordered_pairs(last[rows], truth[rows], [""] * len(rows)) for rows in groups(problem_ids)
    ]
    right_P = np.array([right for right, _ in counts])
    pairs_P = np.array([pairs for _, pairs in counts], dtype=np.float64)

    def figure(weights_P: Array) -> float | None:
        pairs = weights_P @ pairs_P
        return float(weights_P @ right_P / pairs) if pairs else None

    return figure


def brier(scores: Rows, labels: Rows, problem_ids: Sequence[str]) -> Weighted:
    """Mean squared difference of score and label over all ends."""
    problem_N = _problem_of_ends(scores, problem_ids)
    ends_P = np.bincount(problem_N).astype(np.float64)
    errors_P = np.bincount(problem_N, (flatten(scores) - flatten(labels)) ** 2)

    def figure(weights_P: Array) -> float | None:
        return float(weights_P @ errors_P / (weights_P @ ends_P))

    return figure


def ece(scores: Rows, labels: Rows, problem_ids: Sequence[str]) -> Weighted:
    """Expected calibration error in ten equal bins over all ends."""
    flat = flatten(scores)
    problem_N = _problem_of_ends(scores, problem_ids)
    problems = int(problem_N.max()) + 1
    bin_N = np.minimum((flat * BINS).astype(int), BINS - 1)
    gaps = np.bincount(problem_N * BINS + bin_N, flat - flatten(labels), minlength=problems * BINS)
    gaps_PK = gaps.reshape(problems, BINS)
    ends_P = np.bincount(problem_N).astype(np.float64)

    def figure(weights_P: Array) -> float | None:
        return float(np.abs(weights_P @ gaps_PK).sum() / (weights_P @ ends_P))

    return figure


FIGURES: Mapping[str, tuple[Callable[[Rows, Rows, Sequence[str]], Weighted], int]] = {
    "auroc": (auroc, 1),
    "pair_accuracy": (pair_accuracy, 1),
    "brier": (brier, -1),
    "ece": (ece, -1),
}
"""Each figure with +1 if more of it is better, -1 if less is."""


def draws(problem_ids: Sequence[str], resamples: int, seed: int) -> Array:
    """Return weights (resamples, P): how often each problem is in each bootstrap sample."""
    problems = len(set(problem_ids))
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(problems, np.full(problems, 1 / problems), size=resamples)
    return drawn.astype(np.float64)
