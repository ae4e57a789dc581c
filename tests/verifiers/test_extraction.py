"""Where an answer stands: boxes, phrases, marks, thoughts and turns."""

import time

import pytest

from verifiers import boxes, conventions, mathspans
from verifiers.extraction import gold_text, visible


@pytest.mark.parametrize(
    ("text", "stated", "source"),
    [
        ("\\boxed{1} then \\boxed{2}", "2", "box"),
        ("\\boxed{1} then \\boxed{2", "1", "box"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}", "box"),
        ("\\boxed{\\boxed{5}}", "\\boxed{5}", "box"),
        ("\\boxed{1}, \\boxed{2} and \\boxed{3}", "1, 2, 3", "box"),
        ("\\boxed{1} or \\boxed{2}", "1 or 2", "box"),
        ("\\boxed{7}. The final answer is $8$.", "8", "phrase"),
        ("The final answer is $(0, 1)$. I hope it is correct.", "(0, 1)", "phrase"),
        ("#### 1,234", "1,234", "marker"),
        ("$x^2$", "x^2", "bare"),
        ("We see that the sum is $12$.", "12", "fallback"),
        ("Nothing is known here at all.", None, "none"),
        ("", None, "none"),
    ],
)
def test_math_finds_the_stated_answer(text: str, stated: str | None, source: str) -> None:
    found = conventions.load("math")(text)
    assert (found.text, found.source) == (stated, source)


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("16 - 7 = 9\n#### 9", "9"),
        ("#### -1,234.50 and more", "-1,234.50"),
        ("#### 5\n\n#### 7", "5"),
        ("####9", None),
        ("#### $9", None),
        ("#### nine", None),
        ("A: 9", None),
        ("The answer is 9.", None),
        ("\\boxed{9}", None),
        ("9", None),
    ],
)
def test_gsm8ks_own_rule_reads_its_mark_alone(text: str, stated: str | None) -> None:
    found = conventions.load("gsm8k_strict")(text)
    assert (found.text, found.source) == (stated, "none" if stated is None else "marker")


@pytest.mark.parametrize("name", ["gsm8k", "math"])
def test_answer_tags_are_no_part_of_the_answer(name: str) -> None:
    extract = conventions.load(name)
    for text in ("a <answer>1</answer> b", "a <answer>2</answer> <answer>1", "<answer>1"):
        assert extract(visible(text)).text == "1"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>a</think>b", "b"),
        ("<think>a</think>b<think>c", "b"),
        ("<think>a", ""),
        ("a<|im_end|>b", "a"),
        ("<|im_start|>assistant\nThe answer is 1.", "<|im_start|>assistant\nThe answer is 1."),
        ("The answer is 1.\nQuestion: and now?", "The answer is 1."),
        ("Some work.\nProblem: it is hard.\nThe answer is 1.", None),
        ("a <answer>1</answer> b", "<answer>1</answer>"),
        ("a <answer>1</answer> <answer>2", "<answer>2"),
        ("\boxed{1}", "\\boxed{1}"),
    ],
)
def test_thoughts_and_later_turns_are_cut(text: str, left: str | None) -> None:
    assert visible(text) == (text if left is None else left)


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("$12$", "12"),
        ("\\(12\\)", "12"),
        ("So it is $\\boxed{12}$.", "12"),
        ("3*4=12\n#### 12", "12"),
        ("(1, 2)", "(1, 2)"),
        ("$1$ and $2$", "$1$ and $2$"),
    ],
)
def test_golds_come_out_of_their_wrapping(gold: str, text: str) -> None:
    assert gold_text(gold) == text


def test_spans_pair_their_delimiters() -> None:
    found = mathspans.spans("a $x$ b $$y$$ c \\(z\\) \\$5 \\[w\\] $u$$v$ $")
    assert [span.inner for span in found] == ["x", "y", "z", "w", "u", "v"]
    assert mathspans.without("a $x$ b") == "a   b"


def test_an_empty_box_retracts() -> None:
    assert boxes.last_group("\\boxed{4} \\boxed{}") is None


@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "\\boxed{1} ",
        "$",
        "\\$",
        "\\(",
        "the answer is ",
        "<think>",
        "\nQ: ",
        "1,",
        "\\[",
    ],
)
def test_extraction_is_linear(piece: str) -> None:
    extract = conventions.load("math")
    text = piece * (400_000 // len(piece))
    started = time.perf_counter()
    extract(visible(text))
    assert time.perf_counter() - started < 2.0
