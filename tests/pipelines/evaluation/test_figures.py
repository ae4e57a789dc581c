"""What rows amount to, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.evaluation.figures import GROUPS, accuracy, by_tag, counts
from pipelines.report.intervals import wilson


def row(outcome: str, tokens: int, finish: str = "stop", **tags: str) -> dict[str, Any]:
    return {"outcome": outcome, "tokens": tokens, "finish": finish, "tags": tags}


ROWS = [
    row("correct", 3, level="1", subject="Algebra"),
    row("correct", 5, "length", level="2", subject="Algebra"),
    row("incorrect", 7, level="2"),
    row("no_answer", 9, "length", level="2"),
    row("timeout", 11),
]


def test_every_answer_is_counted_once_and_what_was_cut_off_besides() -> None:
    found = counts(ROWS)
    assert found == {
        **accuracy(2, 5),
        "incorrect": 1,
        "no_answer": 1,
        "unparsed": 0,
        "timeout": 1,
        "truncated": 2,
        "mean_length": 7.0,
        "tokens": 35,
    }
    interval = wilson(2, 5)
    assert (found["accuracy"], found["low"], found["high"]) == (0.4, interval.low, interval.high)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("level", {"1": (1, 1), "2": (1, 3)}),
        ("subject", {"Algebra": (2, 2)}),
        ("source", {}),
    ],
)
def test_questions_are_told_apart_by_their_tags(
    tag: str, expected: dict[str, tuple[int, int]]
) -> None:
    found = {name: (by["correct"], by["n"]) for name, by in by_tag(ROWS, tag).items()}
    assert found == expected


def test_subjects_and_levels_are_reported() -> None:
    assert set(GROUPS) == {"subject", "level"}
