"""Math-Verify's call shape: the gold first, texts or parsed answers."""

import logging

import pytest

from verifiers import GoldError, Policy
from verifiers.adapters.math_verify import Answer, parse, verify


def test_the_gold_is_first() -> None:
    gold = parse("$\\frac{1}{2}$")
    good = parse("We halve it. The final answer is $\\boxed{\\frac{1}{2}}$.")
    bad = parse("We halve it. The final answer is $\\boxed{\\frac{1}{3}}$.")
    assert verify(gold, good) is True
    assert verify(gold, bad) is False
    # Policies look at the gold's side, so that an exchange shows.
    in_units, bare = parse("5 \\text{ cm}"), parse("5")
    required = Policy(units="required")
    assert verify(bare, bare, policy=required)
    assert not verify(in_units, bare, policy=required)


def test_texts_are_taken_as_they_are() -> None:
    assert verify("42", "\\boxed{42}")
    answers = [Answer("7", "7", "math"), Answer("42", "42", "math")]
    assert verify(answers, "\\boxed{42}")
    assert verify("42", answers)
    assert not verify("43", answers)


def test_a_verdict_that_is_not_reached_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert verify("\\frac12", "\\boxed{\\int_0^1 x dx}", timeout_seconds=1e-6) is False
    assert "no verdict, counted as unequal" in caplog.text
    caplog.clear()
    assert verify("1", "2") is False
    assert caplog.text == ""


def test_nothing_found_is_an_empty_list_and_no_gold_is_an_error() -> None:
    assert parse("") == []
    assert verify("42", []) is False
    with pytest.raises(GoldError):
        verify([], "42")


def test_answers_of_gsm8k() -> None:
    gold = parse("3 * 4 = 12\n#### 12", convention="gsm8k")
    assert str(gold[0]) == "12"
    assert verify(gold, parse("3 * 4 = 12\nA: 12", convention="gsm8k"))
