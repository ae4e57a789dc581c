"""The extractor on hostile text: it always ends, and answers with a record or nothing."""

import pytest
from hypothesis import given, settings

from tests.verifiers.hostile_text import HOSTILE, soon
from verifiers import conventions
from verifiers.extraction import Extracted, gold_text, visible


@pytest.mark.parametrize("convention", conventions.names())
@given(text=HOSTILE)
@settings(max_examples=300)
def test_extraction_ends_in_a_record(convention: str, text: str) -> None:
    with soon(text):
        found = conventions.load(convention)(visible(text))
        gold = gold_text(text)
    assert isinstance(found, Extracted)
    assert isinstance(gold, str)
    if found.text is not None:
        assert found.text.strip()


@given(text=HOSTILE)
@settings(max_examples=200)
def test_a_box_after_hostile_text_is_the_answer(text: str) -> None:
    # A line of its own keeps the box apart from what is open before it, except for braces,
    # thoughts and turns, which may hide it.
    calm = text.replace("{", "").replace("<", "").replace("[INST]", "").replace(":", "")
    found = conventions.load("math")(visible(calm + "\n\nThe final answer is $\\boxed{31337}$."))
    assert found.text is None or "31337" in found.text or "31337" not in visible(calm)


@pytest.mark.parametrize("convention", conventions.names())
@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" * 150_000,
        "\\boxed{1}" * 100_000,
        "{" * 1_000_000,
        "}" * 1_000_000,
        "####" * 250_000,
        "\n" * 1_000_000,
        "$" * 1_000_000,
        "<think>" * 150_000,
        "</think>" * 130_000,
        "The final answer is " * 50_000,
        "answer: " * 120_000,
        "\nQuestion: " * 90_000,
        "1 " * 500_000,
        "1," * 500_000,
        "3 or 4 or " * 100_000,
        "\\" * 1_000_000,
        "\nA: " * 250_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_megabyte_takes_seconds_at_most(convention: str, text: str) -> None:
    with soon(text[:40], seconds=10):
        found = conventions.load(convention)(visible(text))
    assert isinstance(found, Extracted)
