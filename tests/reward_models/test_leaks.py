"""Evaluation questions are refused in training data, however they are spelt."""

from __future__ import annotations

import dataclasses

import pytest

from reward_models.leaks import Forbidden, LeakedQuestion
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
