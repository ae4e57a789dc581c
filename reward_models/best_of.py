"""Best-of-N by a reward model, against the majority vote and pass@N.

For a problem with n samples, each figure is its mean over *all* subsets of N samples, not over a
few draws. With samples sorted by score, the one of rank r (from 0, worst first) is the best of
C(r, N - 1) of the C(n, N) subsets; pass@N is 1 - C(n - c, N) / C(n, N) for c right samples (Chen et
al., arXiv:2107.03374); the subsets that an answer wins are counted with a generating function in
the votes that others get (`winning`). Ties are shared equally.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

MOST_SAMPLES = 1_000
"""Of a problem. The number of subsets of more would not fit a float."""


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
        [(best_score(group, n), majority(group, n), pass_at(group, n)) for group in enough]
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


def majority(group: Sequence[Candidate], n: int) -> float:
    """Return the chance that the most frequent answer in a subset of n is right.

    Samples without an answer do not vote; without any vote the choice is wrong. Answers with as
    many votes share the choice. An answer is as right as its samples are.
    """
    votes = Counter(candidate.answer for candidate in group if candidate.answer is not None)
    right = Counter(candidate.answer for candidate in group if candidate.correct)
    silent = len(group) - votes.total()
    return sum(
        right[answer] / votes[answer]
        * winning(
            votes[answer], _others(votes, answer), silent, n
        )
        for answer in votes
        if right[answer]
    )  # fmt: skip


def _others(votes: Counter[Hashable], answer: Hashable) -> tuple[int, ...]:
    return tuple(sorted(count for other, count in votes.items() if other != answer))


@functools.lru_cache(maxsize=65_536)
def winning(own: int, others: tuple[int, ...], silent: int, n: int) -> float:
    """Return the chance that an answer wins the vote of a random subset of n samples.

    Args:
        own: samples that state the answer.
        others: samples of each other answer.
        silent: samples without an answer.
        n: size of the subset; at most all samples.

    With v votes of its own, a subset is won if no other answer has more, and shared among t + 1 if
    t others have v too. The subsets by size m and ties t are the coefficients of x^m y^t in
    (1 + x)^silent times, for each other answer of c samples,
    C(c, 0) + C(c, 1) x + ... + C(c, v - 1) x^(v - 1) + C(c, v) x^v y.

    Raises ValueError for more than `MOST_SAMPLES` samples.
    """
    size = own + sum(others) + silent
    if size > MOST_SAMPLES:
        raise ValueError(f"a problem has {size} samples, at most {MOST_SAMPLES} are counted")
    won = 0.0
    for votes in range(1, min(own, n) + 1):
        rest = n - votes
        most_ties = min(sum(count >= votes for count in others), rest // votes)
        ways_MT = np.zeros((rest + 1, most_ties + 1))
        for m in range(min(silent, rest) + 1):
            ways_MT[m, 0] = math.comb(silent, m)
        for count in others:
            grown_MT = np.zeros_like(ways_MT)
            for j in range(min(count, votes - 1, rest) + 1):
                grown_MT[j:] += math.comb(count, j) * ways_MT[: rest + 1 - j]
            if votes <= min(count, rest) and most_ties:
                tied_MT = ways_MT[: rest + 1 - votes, :-1]
                grown_MT[votes:, 1:] += math.comb(count, votes) * tied_MT
            ways_MT = grown_MT
        shares_T = 1 / np.arange(1, most_ties + 2)
        won += math.comb(own, votes) * float(ways_MT[rest] @ shares_T)
    return won / math.comb(size, n)
