"""Where an answer stands: boxes, phrases, marks, thoughts and turns."""

import time

import pytest

from verifiers import boxes, conventions, mathspans
from verifiers.extraction import gold_text, is_completion, visible


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
        ("\\boxed{1} and \\boxed{1}", "1", "box"),
        ("\\boxed{1},\n\n\\boxed{2}", "2", "box"),
        ("\\boxed{1} is not all, so we look further, and \\boxed{2}", "2", "box"),
        ("\\boxed{1}. The other case is here, \\boxed{2}", "2", "box"),
        ("\\boxed{1} is less than \\boxed{2}", "2", "box"),
        (
            "\\boxed{1} beside the many real roots of this long equation and \\boxed{2}",
            "2",
            "box",
        ),
        ("$x=\\boxed{1}$, $y=\\boxed{2}$", "1, 2", "box"),
        ("\\boxed{\\{1}", "\\{1", "box"),
        ("#### 5\n#### 7", "7", "marker"),
        ("Therefore it might be $5$.", None, "none"),
        ("Look at it. Some $5$ there.", None, "none"),
        ("Thus the value is 5^2.", None, "none"),
        ("We get 12 or maybe 5.", None, "none"),
        ("\\boxed{7}. The final answer is as shown above in the 3 lines.", "7", "box"),
        ("\\boxed{7}. The final answer is " + "1+" * 120 + "1.", "7", "box"),
        ("Nothing is known here at all.", None, "none"),
        ("", None, "none"),
    ],
)
def test_math_finds_the_stated_answer(text: str, stated: str | None, source: str) -> None:
    found = conventions.load("math")(text)
    assert (found.text, found.source) == (stated, source)


def test_boxes_that_touch_can_be_a_list() -> None:
    found = conventions.load("math")("\\boxed{1}\\boxed{2}")
    assert (found.text, found.alternative) == ("2", "1, 2")
    for text in (
        "\\boxed{1}\\boxed{2} and \\boxed{3}",
        "\\boxed{1} and \\boxed{2}\\boxed{3}",
    ):
        found = conventions.load("math")(text)
        assert (found.text, found.alternative) == ("3", "1, 2, 3")


@pytest.mark.parametrize(
    ("text", "stated", "source"),
    [
        ("#### 5\n#### 7", "7", "marker"),
        ("####\n12", "12", "marker"),
        ("words ####", None, "none"),
        ("A: 5\nA: 7", "7", "marker"),
        ("\\boxed{1}\\boxed{2}", "2", "box"),
        ("\\boxed{1} and \\boxed{2}", "1, 2", "box"),
        ("It follows. The answer is", None, "none"),
        ("She had 3 apples and then it was -5 in the end of it all", "-5", "fallback"),
    ],
)
def test_gsm8k_finds_the_stated_answer(text: str, stated: str | None, source: str) -> None:
    found = conventions.load("gsm8k")(text)
    assert (found.text, found.source) == (stated, source)


def test_hyphens_in_names_of_conventions_are_underscores() -> None:
    assert conventions.load("gsm8k-strict") is conventions.load("gsm8k_strict")


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("The final answer is: she walked 3 hours.", "3 hours"),
        ("The final answer is that she walked 3 of 5 hours.", None),
        ("The final answer is: she walked 3 and x2 hours.", None),
    ],
)
def test_the_only_number_of_a_clause_is_a_second_reading(text: str, second: str | None) -> None:
    assert conventions.load("math")(text).alternative == second


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
        ("<think>a</think>b<think>c</think>d", "d"),
        ("a<|im_end|>b", "a"),
        ("<|im_start|>assistant\nThe answer is 1.", "<|im_start|>assistant\nThe answer is 1."),
        ("The answer is 1.\nQuestion: and now?", "The answer is 1."),
        ("Some work.\nProblem: it is hard.\nThe answer is 1.", None),
        ("It is \\boxed{1}.\nProblem: another.\n\\boxed{2}", "It is \\boxed{1}."),
        ("Some work.\n#### 1\nQuestion: another?\n#### 2", "Some work.\n#### 1"),
        ("Some work.\nProblem: it is hard.\n#### 1", None),
        ("a <answer>1</answer> b", "<answer>1</answer>"),
        ("a <answer>1</answer> <answer>2", "<answer>2"),
        ("\boxed{1}", "\\boxed{1}"),
        ("\frac{1}{2}", "\\frac{1}{2}"),
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
        ("#### 3\n#### 4\nSome words.", "4"),
        ("$x = \\boxed{1}$ and $\\boxed{2}$", "1, 2"),
        ("First \\boxed{1}. So it is $\\boxed{12$", "1"),
        ("So it is $\\boxed{12$", "12"),
        ("We compute. " * 30 + "The answer is 7.", "7"),
        ("(1, 2)", "(1, 2)"),
        ("$1$ and $2$", "$1$ and $2$"),
    ],
)
def test_golds_come_out_of_their_wrapping(gold: str, text: str) -> None:
    assert gold_text(gold) == text


def test_spans_pair_their_delimiters() -> None:
    found = mathspans.spans("a $x$ b $$y$$ c \\(z\\) \\$5 \\[w\\] $u$$v$ $")
    assert [span.inner for span in found] == ["x", "y", "z", "w", "u", "v"]
    assert mathspans.spans("a $ $ b") == []
    text = "$u$$v$"
    assert [text[span.start : span.end] for span in mathspans.spans(text)] == ["$u$", "$v$"]
    assert mathspans.without("a $x$ b") == "a   b"


@pytest.mark.parametrize(
    ("text", "completion"),
    [
        ("The answer is 12.", False),
        ("The answer is 12." + " It is a long way to get there from what was given to us.", True),
        ("word " * 30, False),
        ("12<|im_end|>", True),
        ("<think>12", True),
    ],
)
def test_completions_are_told_from_answers(text: str, completion: bool) -> None:
    assert is_completion(text) is completion


def test_the_last_box_is_the_one_that_may_be_empty() -> None:
    assert boxes.is_empty("\\boxed{1} \\boxed{ }")
    assert not boxes.is_empty("\\boxed{} \\boxed{1}")
    assert boxes.unclosed("\\boxed{1 \\boxed{12$") == "12"


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
