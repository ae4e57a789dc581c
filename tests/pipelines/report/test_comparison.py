"""Several runs in one picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from pipelines import report
from pipelines.report.comparison import NothingToCompare, band
from pipelines.report.pictures.picture import Curve
from tests.pipelines.report.synthetic_run import write_run


def constant(value: float, steps: int) -> Curve:
    x = tuple(float(i) for i in range(1, steps + 1))
    return Curve(x, (value,) * steps, (1.0,) * steps)


def test_band_is_the_t_interval_over_runs() -> None:
    found = band([constant(0.2, 3), constant(0.5, 3), constant(0.8, 2)])
    assert found.x == (1.0, 2.0, 3.0)
    low, high = stats.t.interval(0.95, 2, 0.5, stats.sem([0.2, 0.5, 0.8]))
    assert (found.estimates[0].low, found.estimates[0].high) == pytest.approx((low, high))
    assert found.estimates[2].value == pytest.approx(0.35)  # the two runs that went so far


def test_draws_arms_of_different_length_and_one_run(tmp_path: Path) -> None:
    runs = {
        "frozen": [write_run(tmp_path / f"f{s}", seed=s, frozen=True, steps=6) for s in range(3)],
        "iterative": [write_run(tmp_path / "i0", steps=9)],
    }
    made = report.compare_runs(runs, tmp_path / "new" / "picture.png")
    assert made.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in made.parent.iterdir()] == ["picture.png"]


def test_an_arm_without_scores_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", reward="verifier", iterations=1, steps=2)
    with pytest.raises(NothingToCompare, match="plain: none of its 1 runs"):
        report.compare_runs({"plain": [run]}, tmp_path / "picture.png")
    with pytest.raises(NothingToCompare, match="no arm"):
        report.compare_runs({}, tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()
