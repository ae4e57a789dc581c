"""Intervals against brute force: exact coverage by summing over all outcomes, and scipy's t."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from pipelines.report.intervals import mean_over_seeds, means_over_questions, wilson
from reward_models.best_of import Candidate, best_score, majority, pass_at


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


@pytest.mark.parametrize("runs", [2, 3, 10, 121])
def test_the_interval_over_seeds_is_scipys(runs: int) -> None:
    draw = random.Random(runs)
    values = [draw.random() for _ in range(runs)]
    found = mean_over_seeds(values)
    expected = stats.t.interval(0.95, runs - 1, found.value, stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)


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


def figures_of_questions(generator: np.random.Generator, questions: int) -> np.ndarray:
    """pass@4, maj@4 and best-of-4 of questions of very different difficulty, 8 samples each."""
    rows = []
    for chance in generator.beta(0.6, 0.8, questions):
        right = generator.random(8) < chance
        score = 0.5 * right + generator.random(8)
        group = [
            Candidate("q", float(s), bool(r), "right" if r else str(generator.integers(3)))
            for s, r in zip(score, right, strict=True)
        ]
        rows.append((pass_at(group, 4), majority(group, 4), best_score(group, 4)))
    return np.array(rows)


@pytest.mark.parametrize("questions", [100, 400])
def test_bootstrap_over_questions_covers_as_often_as_it_says(questions: int) -> None:
    """Evaluations of questions drawn from a large set; the truth is the set's mean."""
    generator = np.random.default_rng(1)
    pool_QF = figures_of_questions(generator, 4_000)
    truth_F = pool_QF.mean(axis=0)
    trials = 600
    covered_F = np.zeros(3)
    for seed in range(trials):
        asked_QF = pool_QF[generator.integers(0, len(pool_QF), questions)]
        found = means_over_questions(asked_QF, resamples=250, seed=seed)
        covered_F += [it.low <= truth <= it.high for it, truth in zip(found, truth_F, strict=True)]
    assert np.all(covered_F / trials >= 0.93)
    assert np.all(covered_F / trials <= 0.97)


def test_bootstrap_of_one_share_is_its_standard_error() -> None:
    values_Q1 = np.array([1.0] * 70 + [0.0] * 130)[:, None]
    (found,) = means_over_questions(values_Q1)
    assert found.value == pytest.approx(0.35)
    assert found.half_width == pytest.approx(1.96 * math.sqrt(0.35 * 0.65 / 200), rel=0.06)
    assert means_over_questions(values_Q1) == [found]
    with pytest.raises(ValueError, match="at least one question"):
        means_over_questions(np.empty((0, 2)))


def test_wilson_covers_93_to_97_of_a_hundred_draws() -> None:
    generator = np.random.default_rng(0)
    for n, share in ((500, 0.1), (500, 0.5), (1319, 0.35), (1319, 0.9), (5000, 0.5)):
        drawn = generator.binomial(n, share, 4_000)
        bounds = [wilson(int(correct), n) for correct in drawn]
        covered = np.mean([it.low <= share <= it.high for it in bounds])
        assert 0.93 <= covered <= 0.97, (n, share)
