"""Votes: the verifier says which answers are the same."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from pipelines.evaluation.votes import RIGHT, answers
from verifiers import verify, verify_many


def row(extracted: str | None, outcome: str = "incorrect") -> dict[str, Any]:
    return {"extracted": extracted, "outcome": outcome}


def votes(*rows: dict[str, Any]) -> list[str | None]:
    return answers([rows], "math")[0]


def test_equal_answers_vote_together_however_they_are_spelt() -> None:
    found = votes(row("0.5"), row(r"\frac{1}{2}"), row("1/3"), row("2/4"), row("x+1"), row("1+x"))
    half, again, third, more, line, turned = found
    assert half == again == more
    assert line == turned
    assert len({half, third, line}) == 3


def test_marks_that_answers_have_lost_are_not_asked_for() -> None:
    rows = row("0.5"), row(r"\frac{1}{2}"), row("1/2"), row("0.6")
    half, again, more, other = answers([rows], "gsm8k_strict")[0]
    assert half == again == more != other


def test_right_answers_are_one_answer_and_no_answer_is_no_vote() -> None:
    found = votes(row("7", "correct"), row("7.0", "correct"), row("8"), row(None, "no_answer"))
    assert found[0] == found[1] == RIGHT
    assert found[2] not in (RIGHT, None)
    assert found[3] is None


def test_what_cannot_be_read_votes_for_its_own_spelling() -> None:
    found = votes(
        row(r"\frac{1}{", "unparsed"), row(r"\frac{1}{", "unparsed"), row("((", "unparsed"),
        row("3", "timeout"), row(None, "timeout"), row("right"),
    )  # fmt: skip
    assert found[0] == found[1] != found[2]
    assert found[3] is not None
    assert found[4] is None
    assert RIGHT not in found
    late, other = votes(row("3", "timeout"), row("3.0", "timeout"))
    assert late != other


def test_an_answer_that_cannot_be_a_gold_equals_nothing_and_stops_nobody() -> None:
    # Marked as wrong although no verifier could read it: it is compared, and refused as a gold.
    found = votes(row(r"\frac{1}{"), row("4"), row("2+2"), row(r"\sqrt{16}"))
    assert found[1] == found[2] == found[3]
    assert found[0] not in (None, found[1])


def test_questions_do_not_mix() -> None:
    first, second = answers([[row("4"), row("5")], [row("5"), row("5.0"), row("4")]], "gsm8k")
    assert first[0] != first[1]
    assert second[0] == second[1] != second[2]


def test_equal_numbers_vote_together_where_only_a_marked_answer_is_read() -> None:
    (found,) = answers([[row("1,000"), row("1000"), row("1000.0"), row("100")]], "gsm8k_strict")
    assert found[0] == found[1] == found[2] != found[3]


def by_all_pairs(texts: list[str], convention: str) -> list[str]:
    """Return for each answer the first one that `verify` finds it equal to, every pair asked."""
    firsts: list[str] = []
    found = []
    for text in texts:
        equal = (
            one for one in firsts if one == text or verify(text, one, convention=convention).correct
        )
        first = next(equal, None)
        if first is None:
            firsts.append(first := text)
        found.append(f"={first}")
    return found


def test_votes_on_real_labelled_solutions_are_those_of_all_pairs(real_data: Path) -> None:
    with (real_data / "gsm8k_model_solutions" / "solutions.jsonl").open(encoding="utf-8") as lines:
        solutions = [json.loads(line)["solution"] for line in itertools.islice(lines, 1200)]
    verdicts = verify_many([(text, "never") for text in solutions], convention="gsm8k")
    stated = [verdict.extracted for verdict in verdicts if verdict.extracted]
    assert len(stated) > 1000
    # Of one question there are four solutions: many questions together are many kinds of answers.
    for begin in range(0, len(stated), 60):
        texts = stated[begin : begin + 60]
        found = answers([[row(text) for text in texts]], "gsm8k")[0]
        assert found == by_all_pairs(texts, "gsm8k")


def test_votes_on_real_golds_are_those_of_all_pairs(real_data: Path) -> None:
    with (real_data / "math_index" / "test.jsonl").open(encoding="utf-8") as lines:
        golds = [json.loads(line)["answer"] for line in itertools.islice(lines, 240)]
    for begin in range(0, len(golds), 60):
        texts = golds[begin : begin + 60]
        found = answers([[row(text) for text in texts]], "math")[0]
        assert found == by_all_pairs(texts, "math")
        assert len(set(found)) > 30
