"""Every splitter, on a table of texts and under the laws that all of them keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterative_grpo import plugins
from iterative_grpo.types import check_ends

NAMES = plugins.names("iterative_grpo.splitters")

CASES = [
    ("whole", "a\nb", ["a\nb"]),
    ("lines", "1+1=2\n2+2=4\n#### 4", ["1+1=2\n", "2+2=4\n", "#### 4"]),
    ("lines", "\n\na\n\nb\n", ["\n\na\n\n", "b\n"]),
    ("lines", "one line", ["one line"]),
    ("blank_lines", "a\nb\n\nc\n \nd", ["a\nb\n\n", "c\n \n", "d"]),
    ("blank_lines", "a\n\nb\nc", ["a\n\n", "b\nc"]),
    ("sentences", "It is 3.5 km. Then 2!\nSo 5.", ["It is 3.5 km.", " Then 2!\n", "So 5."]),
    ("sentences", "So 5. \nThen  6.  7", ["So 5. \n", "Then  6.", "  7"]),
    ("sentences", "Why? 对吗？ 是。 好！ So", ["Why?", " 对吗？", " 是。", " 好！", " So"]),
    ("step_k", "Plan.\nStep 1: a\nb\nstep 2. c", ["Plan.\n", "Step 1: a\nb\n", "step 2. c"]),
    ("step_k", "Steps 1: no", ["Steps 1: no"]),
    ("step_k", "a\n  Step 10: b", ["a\n", "  Step 10: b"]),
    ("step_k", "a\nStep: no\nStep 1) no", ["a\nStep: no\nStep 1) no"]),
    ("separator", "a<extra_0>b<extra_0>", ["a<extra_0>", "b<extra_0>"]),
    ("separator", "<extra_0>a<extra_0>b", ["<extra_0>", "a<extra_0>", "b"]),
]


def pieces(text: str, ends: tuple[int, ...]) -> list[str]:
    return [text[a:b] for a, b in zip((0, *ends), ends, strict=False)]


@pytest.mark.parametrize(("name", "text", "expected"), CASES)
def test_cuts_where_the_table_says(name: str, text: str, expected: list[str]) -> None:
    ends = plugins.find("iterative_grpo.splitters", name).Splitter().split(text)
    assert pieces(text, ends) == expected


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text(alphabet="ab1 .\n:Step<extra_0>\t", max_size=60))
def test_every_cut_is_whole_and_no_step_is_blank(name: str, text: str) -> None:
    ends = plugins.find("iterative_grpo.splitters", name).Splitter().split(text)
    check_ends(ends)
    assert ends[-1] == len(text)
    if text.strip() and name != "whole":
        assert all(piece.strip() for piece in pieces(text, ends))


@pytest.mark.parametrize("name", NAMES)
def test_the_empty_text_is_one_step(name: str) -> None:
    assert plugins.find("iterative_grpo.splitters", name).Splitter().split("") == (0,)


def test_separators_do_not_overlap() -> None:
    splitter = plugins.find("iterative_grpo.splitters", "separator").Splitter(separator="##")
    assert splitter.split("a###b") == (3, 5)


def test_an_empty_separator_is_refused() -> None:
    with pytest.raises(ValueError, match="not empty"):
        plugins.find("iterative_grpo.splitters", "separator").Splitter(separator="")
