"""The stored completions that `benchmarks/parity.py` compares verdicts on, and what is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import parity_rows


@pytest.mark.slow
def test_labelled_solutions_have_the_published_accuracies(real_data: Path) -> None:
    found = parity_rows.accuracies(real_data)
    assert {each.model: (each.ours, each.labels) for each in found.models} == {
        "6b_finetuning": (286, 286),
        "6b_verification": (515, 515),
        "175b_finetuning": (458, 458),
        "175b_verification": (742, 742),
    }
    assert {each.questions for each in found.models} == {1319}
    four = found.four
    assert four.problems == 1319
    assert found.mean == pytest.approx(2001 / 5276)
    # Some model is right on 887 questions; the majority and a judge lie between chance and that.
    assert four.pass_at_n.value == pytest.approx(887 / 1319)
    assert found.mean < four.best_of_n.value < four.majority.value < four.pass_at_n.value


def test_rewrites_are_labelled_by_what_was_done_to_the_gold(real_data: Path) -> None:
    rows = parity_rows.gsm8k(real_data)[2].rows
    first = {row.id.partition(" ")[2]: row for row in rows[:24]}
    assert len({row.id for row in rows}) == len(rows) == 1319 * 24
    assert first["thousands"].response.endswith("\n#### 18")
    assert first["thousands"].right
    assert first["digit in front"].response.endswith("\n#### 118")
    assert not first["digit in front"].right
    assert first["two answers"].response.endswith("\n#### 25 or 18")
    big = next(row for row in rows if row.gold == "70000" and row.id.endswith("thousands"))
    assert big.response.endswith("#### 70,000")


def test_every_right_rewrite_and_no_wrong_one_is_correct(real_data: Path) -> None:
    from verifiers import verify

    rows = parity_rows.gsm8k(real_data)[2].rows[: 24 * 40]
    for row in rows:
        verdict = verify(row.response, row.gold, convention="gsm8k")
        assert verdict.correct is row.right, row.response[-80:]
