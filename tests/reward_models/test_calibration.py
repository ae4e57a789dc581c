"""Calibration: frequencies are met, order stays, and what cannot be fitted is told."""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

from reward_models.calibration import BrokenCalibration, _sigmoid, fit, read_calibration
from reward_models.diagnostics import diagnose

Rows = list[tuple[float, ...]]


def overconfident(rows: int, seed: int) -> tuple[Rows, Rows, list[str]]:
    """Scores whose logits are three times too large, with an offset: truth is sigmoid(z)."""
    generator = np.random.default_rng(seed)
    z = generator.normal(0, 1, rows)
    labels = (generator.random(rows) < 1 / (1 + np.exp(-z))).astype(float)
    scores = 1 / (1 + np.exp(-(3 * z + 1)))
    names = [f"p{row // 4}" for row in range(rows)]
    return [(float(s),) for s in scores], [(float(y),) for y in labels], names


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_calibrated_scores_meet_the_frequencies(kind: str) -> None:
    calibration = fit(kind, *overconfident(3000, 1))
    scores, labels, names = overconfident(3000, 2)
    before = diagnose(scores, labels, names)
    after = diagnose(calibration.apply(scores), labels, names)
    assert before.ece > 0.15
    assert after.ece < 0.04
    assert after.brier < before.brier
    assert after.auroc == pytest.approx(before.auroc, abs=0.01)


def test_temperature_finds_slope_and_offset() -> None:
    calibration = fit("temperature", *overconfident(20_000, 1))
    # truth = sigmoid(z) where the score is sigmoid(3 z + 1).
    for z in (-1.0, 0.0, 1.0):
        score = 1 / (1 + np.exp(-(3 * z + 1)))
        assert calibration.apply([(score,)])[0][0] == pytest.approx(1 / (1 + np.exp(-z)), abs=0.02)


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_order_never_turns(kind: str) -> None:
    scores, labels, names = overconfident(500, 3)
    turned: Rows = [(1 - label,) for (label,) in labels]
    for given in (labels, turned):
        (grid,) = fit(kind, scores, given, names).apply([tuple(np.linspace(0, 1, 200).tolist())])
        assert all(a <= b + 1e-12 for a, b in itertools.pairwise(grid))
        assert all(0 <= value <= 1 for value in grid)


def test_a_model_that_turns_the_order_is_left_at_the_mean() -> None:
    scores: Rows = [(0.9,)] * 50 + [(0.1,)] * 100
    labels: Rows = [(0.0,)] * 50 + [(1.0,)] * 100
    names = [f"p{row}" for row in range(150)]
    found = fit("temperature", scores, labels, names).apply([(0.9, 0.1)])
    assert found[0] == pytest.approx((2 / 3, 2 / 3), abs=1e-6)


def test_soft_labels_are_met() -> None:
    scores: Rows = [(0.9,)] * 50 + [(0.2,)] * 50
    labels: Rows = [(0.6,)] * 50 + [(0.4,)] * 50
    names = [f"p{row}" for row in range(100)]
    found = fit("temperature", scores, labels, names).apply([(0.9, 0.2)])
    assert found[0] == pytest.approx((0.6, 0.4), abs=0.01)


def test_file_round_trip(tmp_path: Path) -> None:
    calibration = fit("isotonic", *overconfident(300, 1))
    calibration.write(tmp_path / "calibration.json")
    assert read_calibration(tmp_path / "calibration.json") == calibration
    (tmp_path / "calibration.json").write_text('{"version": 9}')
    with pytest.raises(BrokenCalibration, match=r"written in format 9.*; restore it"):
        read_calibration(tmp_path / "calibration.json")
    for text in ('{"version": 1}', "[1]", "{"):
        (tmp_path / "calibration.json").write_text(text)
        with pytest.raises(BrokenCalibration, match=r"calibration\.json: not a calibration"):
            read_calibration(tmp_path / "calibration.json")


def test_what_cannot_be_fitted_is_told() -> None:
    with pytest.raises(ValueError, match="all 2 labels are 1"):
        fit("temperature", [(0.5,), (0.6,)], [(1.0,), (1.0,)], ["a", "b"])
    with pytest.raises(ValueError, match="all 2 labels are 0"):
        fit("isotonic", [(0.5,), (0.6,)], [(0.0,), (0.0,)], ["a", "b"])
    with pytest.raises(ValueError, match=r"score 2\.5 is no probability"):
        fit("temperature", [(0.5,), (2.5,)], [(0.0,), (1.0,)], ["a", "b"])
    with pytest.raises(ValueError, match="known: temperature, isotonic"):
        fit("platt", [(0.5,)], [(1.0,)], ["a"])


def test_rows_that_separate_are_calibrated_without_overflow() -> None:
    scores: Rows = [(0.5004,), (0.5005,), (0.5006,), (0.5007,)]
    labels: Rows = [(0.0,), (0.0,), (1.0,), (1.0,)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibration = fit("temperature", scores, labels, ["a", "b", "c", "d"])
    ((low, high),) = calibration.apply([(0.0, 1.0)])
    # The slope is far above what e^-z can be written of in one number.
    assert (low, high) == (0.0, 1.0)
    assert all(a <= b for a, b in itertools.pairwise(calibration.y))


def test_sigmoid_is_the_formula_where_that_can_be_computed() -> None:
    logits = np.linspace(-30, 30, 101)
    formula = [1 / (1 + math.exp(-z)) for z in logits]
    assert _sigmoid(logits) == pytest.approx(formula, rel=1e-12)
    assert _sigmoid(np.array([-1e5, 1e5])).tolist() == [0, 1]
