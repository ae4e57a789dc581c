"""The specification as tables: gold, response, and whether they are the same answer."""

from pathlib import Path

import pytest

from verifiers import Outcome, verify

CASES = Path(__file__).parent / "cases"


def rows(name: str) -> list[tuple[str, str]]:
    lines = (CASES / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" ::: ") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs)
    return [(gold, response) for gold, response in pairs]


@pytest.mark.parametrize(("gold", "response"), rows("equal.txt"))
def test_another_notation_is_correct(gold: str, response: str) -> None:
    boxed = verify(f"We compute.\n\nThe final answer is $\\boxed{{{response}}}$.", gold)
    assert boxed.outcome is Outcome.CORRECT
    assert verify(response, gold).outcome is Outcome.CORRECT


@pytest.mark.parametrize(("gold", "response"), rows("unequal.txt"))
def test_another_answer_is_not_correct(gold: str, response: str) -> None:
    boxed = verify(f"We compute.\n\nThe final answer is $\\boxed{{{response}}}$.", gold)
    assert boxed.outcome in (Outcome.INCORRECT, Outcome.UNPARSED)
    assert not verify(response, gold).correct


@pytest.mark.parametrize(("gold", "response"), rows("completions.txt"))
def test_the_stated_answer_is_found(gold: str, response: str) -> None:
    assert verify(response.replace("\\n", "\n"), gold).outcome is Outcome.CORRECT


@pytest.mark.parametrize(("gold", "response"), rows("holes.txt"))
def test_a_completion_that_does_not_state_the_gold_gets_nothing(gold: str, response: str) -> None:
    assert not verify(response.replace("\\n", "\n"), gold).correct
