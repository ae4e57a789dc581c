"""The stitched script's own parts, and the table; the comparison itself is run by hand."""

from __future__ import annotations

import importlib.util

import pytest

from benchmarks.whole_iteration import Turn, table

PHASES = ("sample", "label", "retrain", "optimize", "evaluate")


def turn(arm: str, seconds: float, accuracy: float) -> Turn:
    return Turn(arm, seconds, dict.fromkeys(PHASES, seconds / 5), 0.9, accuracy)


def test_table_has_medians_and_their_ratio() -> None:
    turns = [turn("stitched", s, 0.8) for s in (30.0, 50.0, 40.0)]
    turns += [turn("ours", s, a) for s, a in ((10.0, 0.7), (30.0, 0.8), (20.0, 0.9))]
    text = table(turns, [0.02, 0.04, 0.03])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:4]]
    assert rows[0][:3] == ["stitched", "3", "8.00"]
    assert rows[1][-4:] == ["20.0 (10.0 to 30.0)", "2.00x", "0.900", "0.800"]
    assert "3.0% of the whole" in text


@pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="Math-Verify is not installed"
)
def test_math_verify_judges_what_follows_the_marks() -> None:
    from benchmarks.stitched import judge

    texts = ["18+5=23\n#### 23", "18+5=24\n#### 24", "no answer", "#### 23.0"]
    assert judge(texts, ["23"] * 4) == [True, False, False, True]
