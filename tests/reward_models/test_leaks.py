"""Evaluation questions are refused in training data, however they are spelt."""

from __future__ import annotations

import dataclasses

import pytest

from reward_models.leaks import Forbidden, LeakedQuestion
from reward_models.questions import question_digest
from tests.reward_models.making import solution

FORBIDDEN = Forbidden()
FORBIDDEN.add("gsm8k/test/0", "Ann has 18 coins. How many?", "gsm8k/test")


@pytest.mark.parametrize(
    "question",
    [
        "Ann has 18 coins. How many?",
        "ann has 18 coins,  how MANY",
        "Ann has \uff11\uff18 coins. How many?",
    ],
)
def test_leaked_questions_are_refused_with_their_origin(question: str) -> None:
    leaked = dataclasses.replace(solution(3, right=True), question=question)
    with pytest.raises(LeakedQuestion, match=r"p3 \(iteration 1\) asks a question of gsm8k/test"):
        list(FORBIDDEN.checked([solution(1, right=True), leaked]))


def test_leaked_ids_are_refused() -> None:
    leaked = dataclasses.replace(solution(3, right=True), problem_id="gsm8k/test/0")
    with pytest.raises(LeakedQuestion, match="asks a question of gsm8k/test"):
        list(FORBIDDEN.checked([leaked]))


def test_other_questions_pass_in_order() -> None:
    rows = [solution(number, right=True) for number in range(5)]
    other = dataclasses.replace(rows[0], question="Ann has 19 coins. How many?")
    minus = dataclasses.replace(rows[0], question="Ann has 1-8 coins. How many?")
    assert list(FORBIDDEN.checked([minus])) == [minus]
    assert list(FORBIDDEN.checked([*rows, other])) == [*rows, other]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("It costs 1.5 dollars.", "It costs 15 dollars.", False),
        ("It costs .5 dollars", "It costs 5 dollars", False),
        ("2 3-packs", "23-packs", False),
        ("She has 5. 3 are red", "She has 53 are red", False),
        ("Of 1, 2 and 3", "of 1 , 2 and 3 ?", True),
        ("It costs 1,000,000.", "it costs 1000000", True),
        ("She has 5. Ben has 3.", "she has 5 ben has 3", True),
        ("Of 1,2345 and 6", "Of 12345 and 6", False),
        ("Ann's box is 'full'", "Anns box is full", True),
        ("In der Straße", "IN DER STRASSE", True),
        ("Cut \ud800", "cut \ud800?", True),
    ],
)
def test_numbers_are_part_of_a_question(one: str, other: str, same: bool) -> None:
    assert (question_digest(one) == question_digest(other)) is same
