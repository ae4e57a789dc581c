from __future__ import annotations

import pytest

from iterative_grpo import stops
from iterative_grpo.engines._endings import Endings, Sampled
from iterative_grpo.types import Finish, Prompt, Sampling
from tests.iterative_grpo.engines import tiny

EOS = 256


class Bytes:
    """A tokenizer whose tokens are bytes, and EOS: every character may be divided."""

    def __init__(self, errors: str = "replace") -> None:
        self.errors = errors

    def decode(self, token_ids: list[int], skip_special_tokens: bool) -> str:
        return bytes(i for i in token_ids if i != EOS).decode(errors=self.errors)


def completion(text: str, stop: tuple[str, ...], *, end: tuple[int, ...] = ()) -> tuple[str, ...]:
    endings = Endings(Bytes(), frozenset({EOS}), stop)
    ids = tuple(text.encode()) + end
    row = Sampled(ids, tuple(float(i) for i in range(len(ids))))
    record = endings.completion(Prompt("p", (1,)), 0, row)
    assert record.token_ids == ids[: len(record.token_ids)]
    assert record.logps == row.logps[: len(record.token_ids)]
    as_sampled = Bytes().decode(list(record.token_ids), skip_special_tokens=True)
    return record.text, as_sampled, record.finish.value


def test_text_ends_before_a_stop_string_and_ids_with_it() -> None:
    assert completion("18.\n\nQ: Who?", ("Q:",)) == ("18.\n\n", "18.\n\nQ:", "stop")
    assert completion("18. Who?", ("Q:",)) == ("18. Who?", "18. Who?", "length")


def test_the_first_of_several_ends_a_completion() -> None:
    assert completion("a.\nb\nc.", ("c", "\n", "b\n")) == ("a.", "a.\n", "stop")
    # Both are complete with the same token: the text ends before the one that began first.
    assert completion("xabc", ("c", "abc")) == ("x", "xabc", "stop")
    # One that began first and is complete later ends nothing.
    assert completion("xabc", ("b", "abc")) == ("xa", "xab", "stop")


def test_characters_of_several_tokens_are_found_whole() -> None:
    assert completion("π = 3。下", ("。",)) == ("π = 3", "π = 3。", "stop")


def test_eos_before_and_after_a_stop_string() -> None:
    assert completion("18.", ("Q:",), end=(EOS,)) == ("18.", "18.", "stop")
    assert completion("18. Q:", ("Q:",), end=(EOS,)) == ("18. ", "18. Q:", "stop")


def test_a_completion_may_be_nothing_but_a_stop_string() -> None:
    assert completion("Q:", ("Q:",)) == ("", "Q:", Finish.STOP.value)


@pytest.mark.parametrize("text", ["x" * 200 + "</s>", "</s>", "a</s", "é" * 40 + "</s>é", "<</s>>"])
def test_looking_at_the_tail_finds_what_looking_at_all_finds(text: str) -> None:
    endings = Endings(Bytes(), frozenset({EOS}), ("</s>", "\n\n\n"))
    ids = tuple(text.encode())
    first = next((n for n in range(len(ids) + 1) if endings.stopped(ids[:n])), None)
    assert first == (text.encode().index(b"</s>") + 4 if "</s>" in text else None)


@pytest.mark.parametrize("stop", ["y" + "x" * 30, "。" * 10])
def test_a_stop_string_of_many_tokens_is_found_beside_a_short_one(stop: str) -> None:
    endings = Endings(Bytes(), frozenset({EOS}), (stop, "q"))
    ids = tuple(f"3 {stop}".encode())
    assert not endings.stopped(ids[:-1])
    assert endings.stopped(ids)


def test_tokens_without_text_and_tokens_behind_hide_no_stop_string() -> None:
    endings = Endings(Bytes(), frozenset(), ("</s>",))
    assert endings.stopped((*b"</s", *[EOS] * 12, *b">"))
    # As many as an engine samples between two looks.
    assert endings.stopped((*b"</s>", *b"x" * 8))


def test_last_characters_that_no_single_token_shows_are_found() -> None:
    # The last byte of "。" alone decodes to nothing readable; a space stands between words only.
    full_stop = Endings(Bytes(), frozenset({EOS}), ("。",))
    assert [full_stop.stopped(tuple("3。".encode())[:n]) for n in (1, 2, 3, 4)] == [
        *[False] * 3,
        True,
    ]
    silent = Endings(Bytes("ignore"), frozenset({EOS}), ("。",))
    assert silent.stopped(tuple("3。".encode()))
    space = Endings(tiny.NoEos(), frozenset(), ("w4 ",))
    assert not space.stopped((3, 4))
    assert space.stopped((3, 4, 5))


def test_before_and_contains() -> None:
    assert stops.before("a Q: b", ("b", "Q:")) == "a "
    assert stops.before("a", ("b",)) == stops.before("a", ()) == "a"
    assert stops.contains("ab", ("b",))
    assert not stops.contains("ab", ())


@pytest.mark.parametrize("stop", [("",), ("a", ""), "Q:"])
def test_stop_strings_that_would_end_everything_are_refused(stop: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="must be a tuple of strings, none of them empty"):
        Sampling(1, 4, stop=stop)
