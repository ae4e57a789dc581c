"""Best-of-N by a reward model, against the majority vote and pass@N.

For a problem with n samples, each figure is its mean over *all* subsets of N samples, not over a
few draws. With samples sorted by score, the one of rank r (from 0, worst first) is the best of
C(r, N - 1) of the C(n, N) subsets; pass@N is 1 - C(n - c, N) / C(n, N) for c right samples (Chen et
al., arXiv:2107.03374). The majority has no such formula: it is counted over all subsets where there
are few, else over a fixed number of drawn ones. Ties are shared equally.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

SUBSETS = 500
"""Above this many subsets of a problem, the majority is estimated from as many drawn ones."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sample of a problem: score, verdict, and the answer that it states, None without one."""

    problem_id: str
    score: float
    correct: bool
    answer: Hashable


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems with its 95 % bootstrap interval over problems."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class BestOf:
    """Accuracy at N of the three ways to choose, over the problems that have N samples or more."""

    n: int
    problems: int
    best_of_n: Estimate
    majority: Estimate
    pass_at_n: Estimate
    gain: Estimate
    """best_of_n - majority, paired over problems."""


def best_of(
    candidates: Sequence[Candidate], n: int, *, resamples: int = 1000, seed: int = 0
) -> BestOf:
    """Estimate all figures at N = `n`. Raises ValueError if no problem has so many samples."""
    if n < 1:
        raise ValueError(f"n is {n}, must be at least 1")
    by_problem: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_problem[candidate.problem_id].append(candidate)
    enough = [group for group in by_problem.values() if len(group) >= n]
    if not enough:
        most = max((len(group) for group in by_problem.values()), default=0)
        raise ValueError(
            f"no problem has {n} samples, the most is {most}; sample more or choose n <= {most}"
        )
    generator = np.random.default_rng(seed)
    figures_PF = np.array(
        [
            (best_score(group, n), majority(group, n, generator), pass_at(group, n))
            for group in enough
        ]
    )
    drawn = generator.integers(0, len(enough), (resamples, len(enough)))
    means_RF = figures_PF[drawn].mean(axis=1)

    def estimate(values_P: np.ndarray, means_R: np.ndarray) -> Estimate:
        low, high = np.quantile(means_R, [0.025, 0.975])
        return Estimate(float(values_P.mean()), float(low), float(high))

    return BestOf(
        n=n,
        problems=len(enough),
        best_of_n=estimate(figures_PF[:, 0], means_RF[:, 0]),
        majority=estimate(figures_PF[:, 1], means_RF[:, 1]),
        pass_at_n=estimate(figures_PF[:, 2], means_RF[:, 2]),
        gain=estimate(figures_PF[:, 0] - figures_PF[:, 1], means_RF[:, 0] - means_RF[:, 1]),
    )


def best_score(group: Sequence[Candidate], n: int) -> float:
    """Return the chance that the sample of the highest score in a subset of n is right."""
    ordered = sorted(group, key=lambda candidate: candidate.score)
    subsets = math.comb(len(group), n)
    total, below = 0.0, 0
    for _, tied in itertools.groupby(ordered, key=lambda candidate: candidate.score):
        block = list(tied)
        # Subsets whose best score is this one: within this block or below, not all below.
        here = math.comb(below + len(block), n) - math.comb(below, n)
        total += here * sum(candidate.correct for candidate in block) / len(block)
        below += len(block)
    return total / subsets


def pass_at(group: Sequence[Candidate], n: int) -> float:
    """Return the chance that a subset of n holds a right sample."""
    wrong = sum(not candidate.correct for candidate in group)
    return 1 - math.comb(wrong, n) / math.comb(len(group), n)


def majority(group: Sequence[Candidate], n: int, generator: np.random.Generator) -> float:
    """Return the chance that the most frequent answer in a subset of n is right.

    Samples without an answer do not vote; without any vote the choice is wrong.
    """
    won = [_vote([group[i] for i in subset]) for subset in _subsets(len(group), n, generator)]
    return sum(won) / len(won)


def _subsets(size: int, n: int, generator: np.random.Generator) -> Iterator[Sequence[int]]:
    if math.comb(size, n) <= SUBSETS:
        yield from itertools.combinations(range(size), n)
    else:
        for _ in range(SUBSETS):
            yield generator.choice(size, n, replace=False).tolist()


def _vote(subset: Sequence[Candidate]) -> float:
    votes = Counter(candidate.answer for candidate in subset if candidate.answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    winners = [answer for answer, count in votes.items() if count == most]
    right = {candidate.answer: candidate.correct for candidate in subset}
    return sum(right[answer] for answer in winners) / len(winners)
