"""An iteration's times, from the clocks of its phases."""

from __future__ import annotations

from pathlib import Path

import pytest

from iterative_grpo import timing
from pipelines import times


def clock_of(**parts: tuple[float, int]) -> timing.Clock:
    clock = timing.Clock()
    clock.parts = {name: timing.Spent(*spent) for name, spent in parts.items()}
    return clock


def test_what_no_part_took_is_other_and_shares_add_up(tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    (tmp_path / "label").mkdir()
    sampled = clock_of(generate=(6.0, 1200), other=(0.5, 0))
    sampled.parts[timing.INPUT_OUTPUT] = timing.Spent(1.0)
    times.write(tmp_path / "sample", sampled)
    times.write(tmp_path / "label", clock_of(label=(1.0, 0), verify=(0.5, 0)))
    row = times.row((name, tmp_path / name, seconds) for name, seconds in
                    (("sample", 8.0), ("label", 2.0)))  # fmt: skip
    assert row["seconds"] == 10.0
    assert row["phases"]["sample"] == {
        "generate": {"seconds": 6.0, "tokens": 1200, "share": 0.6, "tokens_per_second": 200.0},
        "input/output": {"seconds": 1.0, "tokens": 0, "share": 0.1},
        "other": {"seconds": 1.0, "tokens": 0, "share": 0.1},
    }
    assert row["phases"]["label"]["other"]["seconds"] == 0.5
    assert row["outside"]["seconds"] == pytest.approx(2.5)
    shares = [part["share"] for parts in row["phases"].values() for part in parts.values()]
    assert sum(shares) == pytest.approx(1)


def test_a_phase_without_a_clock_is_other_as_a_whole(tmp_path: Path) -> None:
    row = times.row([("sample", tmp_path, 4.0)])
    assert row["phases"] == {"sample": {"other": {"seconds": 4.0, "tokens": 0, "share": 1.0}}}
    assert row["outside"]["share"] == 1.0


def test_a_clock_that_ran_longer_than_its_phase_leaves_nothing_over(tmp_path: Path) -> None:
    (tmp_path / "sample").mkdir()
    times.write(tmp_path / "sample", clock_of(generate=(6.0, 1200)))
    row = times.row([("sample", tmp_path / "sample", 5.9)])
    assert row["phases"]["sample"]["other"]["seconds"] == 0.0
    assert row["outside"]["seconds"] == 0.0
