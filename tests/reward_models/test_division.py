"""The parts of the questions: fixed by text and seed, whatever else is asked."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.division import Division, EmptyPart, HeldOutQuestion, Part, unit_hash
from reward_models.leaks import Forbidden
from tests.reward_models.making import solution

QUESTIONS = [f"Ann has {number} coins. How many?" for number in range(4000)]


def parts(division: Division) -> list[Part]:
    return [division.part(question) for question in QUESTIONS]


def test_shares_are_kept_and_the_seed_draws_others() -> None:
    found = parts(Division(0.1, 0.05, seed=0))
    counts = Counter(found)
    # Four standard deviations of a binomial draw.
    assert abs(counts[Part.HELD_OUT] - 400) < 4 * (4000 * 0.1 * 0.9) ** 0.5
    assert abs(counts[Part.VALIDATION] - 200) < 4 * (4000 * 0.05 * 0.95) ** 0.5
    assert found != parts(Division(0.1, 0.05, seed=1))


def test_a_larger_share_keeps_what_a_smaller_one_kept() -> None:
    small, large = parts(Division(0.1, 0.05, seed=0)), parts(Division(0.2, 0.1, seed=0))
    for before, after in zip(small, large, strict=True):
        if before is not Part.LABELS:
            assert after is before


@given(st.text(), st.integers(0, 5))
def test_spelling_and_name_do_not_move_a_question(question: str, seed: int) -> None:
    division = Division(0.3, 0.3, seed)
    assert division.part(question) is division.part(f" {question} . ")


def test_rows_are_divided_whole_and_in_order() -> None:
    division = Division(0.3, 0.2, seed=0)
    rows = [
        solution(number % 100, right=number % 2 == 0, text=f"{number}") for number in range(400)
    ]
    divided = division.divide(rows)
    assert sorted((row for own in divided.values() for row in own), key=rows.index) == rows
    asked = [{row.question for row in divided[part]} for part in Part]
    assert len(set.union(*asked)) == sum(map(len, asked)) == 100
    assert list(division.checked(divided[Part.LABELS])) == divided[Part.LABELS]
    with pytest.raises(HeldOutQuestion, match="belongs to heldout"):
        list(division.checked([*divided[Part.LABELS], divided[Part.HELD_OUT][0]]))
    with pytest.raises(HeldOutQuestion, match="belongs to validation"):
        list(division.checked(divided[Part.VALIDATION]))


def test_a_question_under_another_name_is_in_the_same_part() -> None:
    division = Division(0.5, 0.0, seed=0)
    for number in range(50):
        row = solution(number, right=True)
        twin = dataclasses.replace(row, problem_id="again", question=row.question.upper())
        assert division.part(row.question) is division.part(twin.question)


@pytest.mark.parametrize("shares", [(-0.1, 0.1), (1.0, 0.0), (0.1, 1.0), (0.6, 0.4)])
def test_shares_that_leave_nothing_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Division(*shares, seed=0)


def test_an_empty_part_is_named() -> None:
    division = Division(0.1, 0.0, seed=0)
    kept = [question for question in QUESTIONS if division.part(question) is Part.LABELS]
    with pytest.raises(EmptyPart, match="none of 20 questions falls to heldout"):
        division.require(kept[:20], (Part.LABELS, Part.HELD_OUT))
    division.require(kept[:20], (Part.LABELS,))


def test_forbidden_says_why() -> None:
    forbidden = Forbidden()
    forbidden.add("gsm8k/test/0", "Ann has 18 coins. How many?", "gsm8k/test")
    assert forbidden.why("train/1", "ann has 18 coins: how many") == "gsm8k/test"
    assert forbidden.why("gsm8k/test/0", "another") == "gsm8k/test"
    assert forbidden.why("train/1", "Ann has 19 coins. How many?") is None


def test_any_name_has_a_place() -> None:
    places = [unit_hash(f"p{number}", "salt") for number in range(1000)]
    assert 0 <= min(places) < 0.01
    assert 0.99 < max(places) < 1
    # Also one that was cut inside a character.
    assert unit_hash("\ud800", "salt") != unit_hash("\ud801", "salt")
