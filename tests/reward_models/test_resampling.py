"""Weighted figures against the diagnostics of rows repeated as often as the weights say."""

from __future__ import annotations

import numpy as np
import pytest

from reward_models.diagnostics import diagnose
from reward_models.resampling import FIGURES, draws


@pytest.mark.parametrize("figure", list(FIGURES))
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_repetitions(figure: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    problems = [f"p{row // 4}" for row in range(40)]
    labels = [tuple(generator.integers(0, 2, 1 + row % 3).astype(float)) for row in range(40)]
    # Rounded: ties matter.
    scores = [tuple(generator.random(len(row)).round(1)) for row in labels]
    weights = generator.integers(0, 3, 10).astype(float)
    copies = [
        (row, f"{problems[row]}/{copy}")
        for row in range(40)
        for copy in range(int(weights[row // 4]))
    ]
    expected = diagnose(
        [scores[row] for row, _ in copies],
        [labels[row] for row, _ in copies],
        [name for _, name in copies],
    )
    compute = FIGURES[figure][0](scores, labels, problems)
    assert compute(weights) == pytest.approx(getattr(expected, figure))


@pytest.mark.parametrize("figure", list(FIGURES))
def test_weights_are_in_the_problems_order_of_appearance(figure: str) -> None:
    labels = [(1.0,), (0.0,), (0.5,), (0.0,)]
    scores = [(0.9,), (0.2,), (0.3,), (0.5,)]
    weights_P = np.array([3.0, 1.0])
    compute = FIGURES[figure][0]
    expected = compute(scores, labels, ["a", "a", "b", "b"])(weights_P)
    assert compute(scores, labels, ["z", "z", "b", "b"])(weights_P) == expected
    thrice = diagnose(
        [*scores[:2]] * 3 + scores[2:],
        [*labels[:2]] * 3 + labels[2:],
        ["a", "a", "b", "b", "c", "c", "d", "d"],
    )
    assert expected == pytest.approx(getattr(thrice, figure))


def test_undefined_stays_undefined() -> None:
    scores, labels, names = [(0.2,), (0.7,)], [(1.0,), (0.0,)], ["a", "b"]
    assert FIGURES["auroc"][0](scores, labels, names)(np.array([1.0, 0.0])) is None
    assert FIGURES["pair_accuracy"][0](scores, labels, names)(np.ones(2)) is None


def test_draws_resample_problems() -> None:
    weights = draws(["a", "a", "b", "c"], 500, 0)
    assert weights.shape == (500, 3)
    assert (weights.sum(axis=1) == 3).all()
    assert weights.mean() == 1
    assert (weights == draws(["a", "a", "b", "c"], 500, 0)).all()
    assert (weights != draws(["a", "a", "b", "c"], 500, 1)).any()
    assert weights.var() == pytest.approx(2 / 3, abs=0.1)
