"""Bias of class and length: scipy's correlation is the oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from reward_models.bias import bias, spearman
from tests.reward_models.making import solution


def test_spearman_is_scipys_with_ties() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        one = generator.integers(0, 8, 50).astype(float)
        other = one + generator.integers(0, 5, 50)
        assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert spearman(np.ones(5), np.arange(5.0)) is None
    assert spearman(np.arange(5.0), np.ones(5)) is None
    assert spearman(np.ones(1), np.ones(1)) is None


def test_length_counts_within_a_class_alone() -> None:
    # Right ones are longer: a judge of the truth follows length over all, not within a class.
    texts = ["x" * (20 + k) for k in range(10)] + ["x" * (1 + k) for k in range(10)]
    rows = [solution(k, right=k < 10, text=text) for k, text in enumerate(texts)]
    generator = np.random.default_rng(1)
    truthful = [(0.9 if row.correct else 0.1,) for row in rows]
    assert bias(truthful, rows).score_by_length is None
    noisy = [(score + 0.01 * generator.random(),) for (score,) in truthful]
    found = bias(noisy, rows)
    assert abs(found.score_by_length or 0) < 0.6
    assert found.score_right == pytest.approx(0.905, abs=0.005)
    assert (found.length_right, found.length_wrong) == (24.5, 5.5)
    long = bias([(len(row.text) / 40,) for row in rows], rows)
    assert long.score_by_length == pytest.approx(1)
    assert bias([(0.5,)], rows[:1]).score_wrong is None
    with pytest.raises(ValueError, match="1 rows of scores for 2"):
        bias([(0.5,)], rows[:2])


def test_classes_weigh_by_their_rows_and_last_ends_count() -> None:
    rows, scores = [], []
    for k in range(9):
        row = solution(k, right=k < 3, text="x" * (k + 2))
        rows.append(
            replace(row, ends=(1, k + 2), labels=(1.0, *row.labels), counts=((1, 1), *row.counts))
        )
        # Longer is better among the three right ones, and worse among the six wrong ones.
        scores.append((0.5, 0.5 + (k if k < 3 else -k) / 20))
    found = bias(scores, rows)
    assert found.score_by_length == pytest.approx((3 * 1 - 6 * 1) / 9)
    assert found.score_right == pytest.approx(0.55)
    assert found.score_wrong == pytest.approx(0.5 - 33 / 120)


def test_what_the_limit_cut_off_is_not_right() -> None:
    rows = [solution(1, right=True), replace(solution(2, right=True), finished=False)]
    found = bias([(0.9,), (0.2,)], rows)
    assert (found.score_right, found.score_wrong) == (0.9, 0.2)
