"""Labeled solutions: what is refused when made, and files that say where they are broken."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.types import (
    VERSION,
    BrokenLabels,
    LabelCost,
    LabeledSolution,
    as_rewarded,
    parse,
    read_solutions,
    to_json,
    write_solutions,
)
from tests.reward_models.making import solution

GOOD = LabeledSolution(
    problem_id="gsm8k/train/17",
    question="How many?",
    text="2+2=4\n#### 4",
    ends=(6, 12),
    labels=(0.25, 1.0),
    counts=((2, 8), (1, 1)),
    iteration=3,
    labeler="monte_carlo",
    completer="abc",
    correct=True,
    finished=True,
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": (1.0,)}, "2 ends, 1 labels"),
        ({"counts": ((1, 1),)}, "1 counts"),
        ({"ends": (6, 13)}, "an end at 13 lies beyond the text of 12"),
        ({"ends": (12, 6)}, "strictly increasing"),
        ({"ends": ()}, "at least one step end"),
        ({"labels": (True, 1.0)}, "label True is a bool"),
        ({"labels": (-100, 1.0)}, r"label -100 is outside \[0, 1\]"),
        ({"labels": (1.5, 1.0)}, r"label 1\.5 is outside"),
        ({"labels": (float("nan"), 1.0)}, "label nan is outside"),
        ({"labels": ("1", 1.0)}, "label '1' is a str"),
        ({"counts": ((9, 8), (1, 1))}, "is not a count"),
        ({"counts": ((-1, 8), (1, 1))}, "is not a count"),
        ({"counts": ((2, 8, 0), (1, 1))}, "is not a count"),
        ({"iteration": -1}, "iteration is -1"),
    ],
)
def test_refuses_what_would_train_wrongly(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        dataclasses.replace(GOOD, **change)
    assert "gsm8k/train/17" in str(error.value)


def test_empty_text_is_one_end_at_zero() -> None:
    empty = dataclasses.replace(
        GOOD, text="", ends=(0,), labels=(0.0,), counts=((0, 1),), correct=False
    )
    assert parse(to_json(empty).encode(), "here") == empty


@pytest.mark.parametrize("finished", [True, False])
def test_steps_come_back_from_json(finished: bool) -> None:
    row = dataclasses.replace(GOOD, finished=finished)
    assert parse(to_json(row).encode("ascii"), "here") == row


@given(st.text(), st.text(min_size=1), st.lists(st.floats(0, 1), min_size=1, max_size=1))
def test_json_round_trip(question: str, text: str, labels: list[float]) -> None:
    row = dataclasses.replace(
        GOOD,
        question=question,
        text=text,
        ends=(len(text),),
        labels=tuple(labels),
        counts=((0, 0),),
    )
    line = to_json(row)
    assert "\n" not in line
    assert parse(line.encode("ascii"), "here") == row


def test_files_stream_and_keep_order(tmp_path: Path) -> None:
    rows = [solution(number, right=number % 2 == 0) for number in range(5)]
    path = tmp_path / "labels.jsonl"
    assert write_solutions(path, iter(rows)) == 5
    reader = read_solutions(path)
    assert next(reader) == rows[0]
    assert list(reader) == rows[1:]


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f"{to_json(GOOD)}\n\n  \n{to_json(GOOD)}\n")
    assert list(read_solutions(path)) == [GOOD, GOOD]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: row.pop("ends"), "missing ends"),
        (lambda row: row.update(version=VERSION + 1), f"format {VERSION + 1}"),
        (lambda row: row.pop("version"), "'version' is missing"),
        (lambda row: row.update(version="1"), "'version' is missing"),
        (lambda row: row.update(version=True), "'version' is missing"),
        (lambda row: row.update(correct=1), "correct is a int, expected bool"),
        (lambda row: row.update(iteration=True), "iteration is a bool"),
        (lambda row: row.update(ends=[6.0, 12]), "ends must be integers"),
        (lambda row: row.update(ends=[True, 12]), "ends must be integers"),
        (lambda row: row.update(counts=[[1], [1, 1]]), "pairs of integers"),
        (lambda row: row.update(counts=[[2, 8], [True, True]]), "pairs of integers"),
        (lambda row: row.update(labels=[True, 1.0]), "label True is a bool"),
        (lambda row: row.update(labels=[-100, 1.0]), "label -100"),
    ],
)
def test_broken_rows_name_file_and_line(tmp_path: Path, edit: Any, message: str) -> None:
    row = json.loads(to_json(GOOD))
    edit(row)
    path = tmp_path / "labels.jsonl"
    path.write_text(to_json(GOOD) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(BrokenLabels, match=message) as error:
        list(read_solutions(path))
    assert f"{path}:2: " in str(error.value)


@pytest.mark.parametrize("line", ['{"version": 1, "prob', "[]", "\xff", "[" * 100_000])
def test_broken_lines_name_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(to_json(GOOD).encode() + b"\n" + line.encode("latin-1") + b"\n")
    with pytest.raises(BrokenLabels, match=r"labels\.jsonl:2: "):
        list(read_solutions(path))


def test_digest_is_of_question_and_text_alone() -> None:
    other_labels = dataclasses.replace(GOOD, labels=(0.0, 0.0), iteration=9)
    assert other_labels.digest == GOOD.digest
    # The border between question and text counts.
    moved = dataclasses.replace(
        GOOD, question="How many?2", text=GOOD.text[1:], ends=(11,), labels=(0.0,), counts=((0, 1),)
    )
    assert moved.digest != GOOD.digest
    assert dataclasses.replace(GOOD, problem_id="gsm8k/train/18").digest == GOOD.digest
    assert dataclasses.replace(GOOD, question="How much?").digest != GOOD.digest
    # A text that was cut inside a character has a digest, too.
    assert dataclasses.replace(GOOD, question="\ud800").digest != GOOD.digest


def test_the_last_label_says_the_class_and_one_half_is_positive() -> None:
    assert dataclasses.replace(GOOD, labels=(0.0, 0.5)).positive
    assert not dataclasses.replace(GOOD, labels=(1.0, 0.25)).positive


@pytest.mark.parametrize("correct", [True, False])
@pytest.mark.parametrize("finished", [True, False])
def test_right_is_correct_and_finished(correct: bool, finished: bool) -> None:
    row = dataclasses.replace(GOOD, correct=correct, finished=finished)
    assert row.right is (correct and finished)


def test_the_cut_off_end_alone_is_worth_nothing() -> None:
    assert as_rewarded((0.75, 0.5), finished=True) == (0.75, 0.5)
    assert as_rewarded((0.75, 0.5), finished=False) == (0.75, 0.0)


def test_costs_add_up() -> None:
    cost = LabelCost(labels=4, prefixes=2, rollouts=8, tokens=100, reused=3)
    assert cost + cost == LabelCost(labels=8, prefixes=4, rollouts=16, tokens=200, reused=6)
    assert cost.tokens_per_label == 25
    assert LabelCost(tokens=5).tokens_per_label == 0
