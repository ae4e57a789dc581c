"""What the tables say in words, and on which side the terminal and the page list a question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.comparison import page, terminal, writing
from pipelines.comparison.answers import read
from pipelines.comparison.comparing import Comparison, compare
from pipelines.comparison.tables import accuracies, fates, probability
from pipelines.report.paired import RESAMPLES
from tests.pipelines.comparison.folders import outcomes, row, write

RIGHT, WRONG, NONE = "correct", "incorrect", "no_answer"


def compared(folder: Path) -> Comparison:
    return compare(read(folder / "a"), read(folder / "b"))


def test_accuracies_are_in_percent_and_their_difference_in_points(tmp_path: Path) -> None:
    """Every question changes alike, so that the interval has no width."""
    write(tmp_path / "a", [row(n, WRONG, s) for n in range(4) for s in range(3)])
    second = [row(n, RIGHT if s < 2 else WRONG, s) for n in range(4) for s in range(3)]
    write(tmp_path / "b", second)
    greedy, sampled = accuracies(compared(tmp_path)).rows
    assert greedy == (
        "gsm8k/test", "greedy", "4", "0.0%", "100.0%", "+100.0 [+100.0, +100.0]", "4", "0", "0.125",
    )  # fmt: skip
    # The test is of greedy answers alone.
    assert sampled == (
        "gsm8k/test", "sampled", "4", "0.0%", "50.0%", "+50.0 [+50.0, +50.0]", "", "", "",
    )  # fmt: skip


def test_what_became_of_answers_is_listed_where_a_side_has_it(tmp_path: Path) -> None:
    write(tmp_path / "a", outcomes(RIGHT, RIGHT, NONE, RIGHT))
    write(tmp_path / "b", outcomes(WRONG, WRONG, RIGHT, RIGHT))
    assert fates(compared(tmp_path)).rows == (
        ("gsm8k/test", "incorrect", "0", "2", "+2", "0.500"),
        ("gsm8k/test", "no answer", "1", "0", "-1", "1.000"),
    )


@pytest.mark.parametrize(("p", "said"), [(0.0009, "< 0.001"), (0.001, "0.001"), (0.0051, "0.005")])
def test_a_probability_has_three_places(p: float, said: str) -> None:
    assert probability(p) == said


def test_questions_are_listed_under_the_side_that_is_right(tmp_path: Path) -> None:
    write(tmp_path / "a", [row(0, RIGHT), row(1, WRONG)])
    write(tmp_path / "b", [row(0, WRONG), row(1, RIGHT)])
    found = replace(compared(tmp_path), notes=("said at the end",))
    for shown, title in ((page.render(found), "Right"), (terminal.text(found, 100), "right")):
        places = [
            shown.index(text)
            for text in (
                f"{title} in B only", "gsm8k/test/1", f"{title} in A only", "gsm8k/test/0",
            )
        ]  # fmt: skip
        assert places == sorted(places)
        assert "said at the end" in shown


def test_questions_that_one_side_alone_answered_are_counted_on_the_page(tmp_path: Path) -> None:
    write(tmp_path / "a", outcomes(RIGHT))
    write(tmp_path / "b", outcomes(RIGHT, WRONG))
    found = compare(read(tmp_path / "a"), read(tmp_path / "b"), common=True)
    said = "Left out: 0 questions that only A answered, 1 that only B answered."
    assert said in page.render(found)


def test_the_page_says_how_often_questions_were_drawn(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, outcomes(RIGHT))
    assert f"{RESAMPLES:,} resamples of the questions" in page.render(compared(tmp_path))


def test_folders_of_the_same_names_elsewhere_are_compared_in_another_folder(tmp_path: Path) -> None:
    sides = [
        read(write(tmp_path / place / name, outcomes(RIGHT)))
        for place in ("here", "there")
        for name in ("a", "b")
    ]
    here, there = writing.default_folder(*sides[:2]), writing.default_folder(*sides[2:])
    assert here.name.startswith("a-b-")
    assert here != there
    assert here == writing.default_folder(*sides[:2])
