"""Intervals against brute force: exact coverage by summing over all outcomes, and scipy's t."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from pipelines.report.intervals import mean_over_seeds, t_quantile, wilson


@pytest.mark.parametrize("n", [20, 100, 300, 1319])
def test_wilson_covers_as_often_as_it_says(n: int) -> None:
    """The exact coverage, averaged over true shares: every outcome with its probability."""
    intervals = [wilson(correct, n) for correct in range(n + 1)]
    coverages = []
    for permille in range(20, 1000, 20):
        share = permille / 1000
        weights = stats.binom.pmf(range(n + 1), n, share)
        covered = [
            w for w, it in zip(weights, intervals, strict=True) if it.low <= share <= it.high
        ]
        coverages.append(sum(covered))
    assert 0.945 <= sum(coverages) / len(coverages) <= 0.96
    assert min(coverages) > 0.85  # the interval is approximate near 0 and 1


def test_wilson_solves_the_score_equation() -> None:
    """The bounds are the shares p with |k/n - p| = z sqrt(p (1 - p) / n)."""
    found = wilson(81, 300)
    for bound in (found.low, found.high):
        assert abs(0.27 - bound) == pytest.approx(
            1.959963984540054 * math.sqrt(bound * (1 - bound) / 300), rel=1e-12
        )


def test_wilson_at_the_ends() -> None:
    assert wilson(0, 10).low == 0.0
    assert 0.2 < wilson(0, 10).high < 0.35
    assert wilson(10, 10).high == 1.0
    assert wilson(10, 10).value == 1.0


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{correct} of {n}"):
        wilson(correct, n)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 6, 7, 9, 19, 20, 120])
def test_t_quantile_equals_scipy(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def test_mean_over_seeds_covers() -> None:
    draw = random.Random(7)
    hits = 0
    for _ in range(4000):
        it = mean_over_seeds([draw.gauss(0.8, 0.05) for _ in range(5)])
        hits += it.low <= 0.8 <= it.high
    assert 0.94 <= hits / 4000 <= 0.96


def test_one_seed_has_no_interval() -> None:
    it = mean_over_seeds([0.5])
    assert it.value == 0.5
    assert math.isnan(it.low)
    with pytest.raises(ValueError, match="none"):
        mean_over_seeds([])
