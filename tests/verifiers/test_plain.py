"""Values of plain numbers say what `verify` says of them as a response and a gold."""

from __future__ import annotations

import itertools

import pytest

from verifiers import verify
from verifiers.plain import number_of

SPELLINGS = (
    "0", "-0", "+0", "0.0", "7", "7.", "07", " 7 ", "+7", "7.0", "7.00", "-7", "- 7", "1000",
    "1,000", "1,00", "10,00", "1.000", "1,000.0", "1234567", "1,234,567", "1.5", "1.50", "1,5",
    ".5", "0.5", "1/2", r"\frac{1}{2}", "50%", "0.3333333333333333", "1/3", "3.3", "3,3", "$7",
    "7 cm", "seven", "\N{ARABIC-INDIC DIGIT SEVEN}", "1e3", "7\n8", "7 8", ".", "-", "",
    "0,123", "123", "12345678901234567890", "12345678901234567891", r"\boxed{7}", "#### 7", "A: 7",
    "The answer is 7.", "x = 7", "(7)",
)  # fmt: skip


@pytest.mark.parametrize("convention", ["gsm8k", "math"])
def test_equal_values_are_equal_answers_and_others_are_not(convention: str) -> None:
    values = {text: number_of(text, convention) for text in SPELLINGS}
    known = [text for text in SPELLINGS if values[text] is not None]
    for response, gold in itertools.product(known, known):
        correct = verify(response, gold, convention=convention).correct
        assert correct == (values[response] == values[gold]), (response, gold)


def test_what_the_bare_conventions_read_as_numbers() -> None:
    for convention in ("gsm8k", "math"):
        assert number_of("1,000.0", convention) == number_of("1000", convention) == 1000
        assert number_of("-.5", convention) == -0.5
        for other in ("1,5", "50%", "7 cm", "1/2", "seven", "", "#### 7"):
            assert number_of(other, convention) is None


def test_a_number_behind_a_mark_is_worth_the_same() -> None:
    for response, gold in itertools.product(("1,000", "1000.", "1000.0", "100", "-1000"), repeat=2):
        correct = verify(f"#### {response}", gold, convention="gsm8k_strict").correct
        values = [number_of(text, "gsm8k_strict") for text in (response, gold)]
        assert None not in values
        assert correct == (values[0] == values[1])
