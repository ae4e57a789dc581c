"""Numbers in words, against a speller written the other way round."""

import pytest

from verifiers.numberwords import whole_number

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
ONES += "fifteen sixteen seventeen eighteen nineteen"
TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety"


def spelled(n: int) -> str:
    for size, name in ((10**6, "million"), (10**3, "thousand"), (100, "hundred")):
        if n >= size:
            rest = f" {spelled(n % size)}" if n % size else ""
            return f"{spelled(n // size)} {name}{rest}"
    if n < 20:
        return ONES.split()[n]
    return TENS.split()[n // 10] + (f" {ONES.split()[n % 10]}" if n % 10 else "")


@pytest.mark.parametrize("n", [*range(1_200), 1_999, 20_040, 100_000, 999_999, 1_234_567])
def test_every_spelled_number_is_read(n: int) -> None:
    assert whole_number(spelled(n).split()) == n


@pytest.mark.parametrize(
    "words",
    [
        "", "and", "one two", "twenty ten", "hundred", "one million million", "five and", "x",
        "twenty zero", "twenty hundred", "million", "one thousand one million",
    ],
)  # fmt: skip
def test_other_words_are_no_number(words: str) -> None:
    assert whole_number(words.split()) is None
