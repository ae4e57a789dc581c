"""McNemar against scipy's binomial test, the bootstrap against its formula, and its coverage."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from pipelines.report.intervals import means_over_questions
from pipelines.report.paired import mcnemar, paired_bootstrap


@pytest.mark.parametrize(
    ("gained", "lost"),
    [(0, 0), (1, 0), (0, 5), (3, 3), (12, 22), (22, 12), (200, 260), (1_900, 2_300), (0, 5_000)],
)
def test_mcnemar_is_the_binomial_test_with_a_half(gained: int, lost: int) -> None:
    changed = gained + lost
    expected = stats.binomtest(gained, changed, 0.5).pvalue if changed else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemar_counts_the_outcomes_that_are_as_uneven() -> None:
    uneven = sum(abs(2 * bin(flips).count("1") - 9) >= 5 for flips in range(2**9))
    assert mcnemar(2, 7) == pytest.approx(uneven / 2**9)


def test_mcnemar_refuses_what_is_no_count() -> None:
    with pytest.raises(ValueError, match="-1 lost"):
        mcnemar(3, -1)


def test_bootstrap_is_the_normal_interval_where_questions_are_many() -> None:
    draw = random.Random("normal")
    differences = [draw.choice((-1.0, -0.5, 0.0, 0.0, 0.25, 1.0)) for _ in range(4_000)]
    found = paired_bootstrap(differences)
    half = 1.959964 * np.std(differences) / np.sqrt(len(differences))
    assert found.value == pytest.approx(np.mean(differences))
    assert found.low == pytest.approx(found.value - half, abs=0.04 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.04 * half)


def test_bootstrap_draws_whole_questions() -> None:
    """The same as drawing indices one by one, up to the draws."""
    differences = [1.0] * 6 + [0.0] * 20 + [-1.0] * 2
    found = paired_bootstrap(differences, resamples=100_000)
    generator = np.random.default_rng(1)
    drawn = np.array(differences)[generator.integers(0, 28, size=(100_000, 28))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    # One question more or fewer is 1/28: the quantiles may differ by one such step at most.
    assert abs(found.low - low) <= 1 / 28 + 1e-12
    assert abs(found.high - high) <= 1 / 28 + 1e-12


def test_bootstrap_is_that_of_any_means_over_questions() -> None:
    differences = [0.25] * 90 + [0.0] * 200 + [-0.5] * 30 + [1.0] * 80
    found = paired_bootstrap(differences)
    (other,) = means_over_questions(np.array(differences)[:, None], resamples=4_000, seed=3)
    assert found.value == pytest.approx(other.value)
    assert found.low == pytest.approx(other.low, abs=0.1 * found.half_width)
    assert found.high == pytest.approx(other.high, abs=0.1 * found.half_width)


@pytest.mark.parametrize(("gain", "loss", "n"), [(0.15, 0.10, 300), (0.3, 0.1, 150)])
def test_bootstrap_covers_as_often_as_it_says(gain: float, loss: float, n: int) -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for number in range(1_500):
        gained, lost, _ = generator.multinomial(n, [gain, loss, 1 - gain - loss])
        differences = [1.0] * gained + [-1.0] * lost + [0.0] * (n - gained - lost)
        found = paired_bootstrap(differences, resamples=1_000, seed=number)
        covered += found.low <= gain - loss <= found.high
    assert 0.93 <= covered / 1_500 <= 0.97


def test_bootstrap_is_fixed_by_its_seed_and_needs_a_question() -> None:
    differences = [1.0, 0.0, -1.0, 0.5] * 25
    assert paired_bootstrap(differences) == paired_bootstrap(differences[::-1])
    few = [paired_bootstrap(differences, resamples=40, seed=seed).low for seed in (0, 0, 1)]
    assert few[0] == few[1] != few[2]
    with pytest.raises(ValueError, match="at least one question"):
        paired_bootstrap([])
