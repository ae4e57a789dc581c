"""Questions and solutions as token ids, and the tokens at which the head is read."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iterative_grpo.types import check_ends

ROWS_AT_ONCE = 1_024
"""Rows tokenised in one call: with offsets, a tokenizer's lists are 80 times the text."""

_PROBE = "Ann has 18 coins.\n18+5=23\n#### 23 \\boxed{\\frac{1}{2}}"


class UnfitTokenizer(ValueError):
    """A tokenizer that a reward model cannot use, or not the one it was trained with."""


class UnreadableSolution(ValueError):
    """A solution that would lose an end: no token reaches it, or it lies beyond the context."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A question and a solution as token ids; `marks[k]` is the token where end k is read.

    The first `question` tokens are the question's.
    """

    token_ids: tuple[int, ...]
    marks: tuple[int, ...]
    question: int


def check_tokenizer(tokenizer: Any, embeddings: int) -> None:
    """Refuse a tokenizer without offsets, or with more tokens than the model has embeddings."""
    if not getattr(tokenizer, "is_fast", False):
        raise UnfitTokenizer(
            f"{type(tokenizer).__name__} gives no character offsets, which place the step ends; "
            "use a fast tokenizer (one with a tokenizer.json)"
        )
    if len(tokenizer) > embeddings:
        raise UnfitTokenizer(
            f"the tokenizer has {len(tokenizer)} tokens, the model {embeddings} embeddings; "
            "they do not belong together"
        )


def fingerprint(tokenizer: Any) -> str:
    """Return a short hash of the vocabulary and of how a probe text is cut."""
    digest = hashlib.blake2b(digest_size=8)
    for token, index in sorted(tokenizer.get_vocab().items()):
        digest.update(f"{index}\t{token}\n".encode("utf-8", "surrogatepass"))
    digest.update(repr(tokenizer(_PROBE)["input_ids"]).encode())
    return digest.hexdigest()


def check_rows(
    questions: Sequence[str], texts: Sequence[str], ends: Sequence[Sequence[int]]
) -> None:
    """Refuse lists of different lengths, and ends that are no cut of their text."""
    if not len(questions) == len(texts) == len(ends):
        raise ValueError(
            f"{len(questions)} questions, {len(texts)} texts and {len(ends)} lists of ends; "
            "expected as many of each"
        )
    for row, (text, cut) in enumerate(zip(texts, ends, strict=True)):
        try:
            check_ends(cut)
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from error
        if cut[-1] > len(text):
            raise ValueError(
                f"row {row}: an end at {cut[-1]} lies beyond the text of {len(text)} characters; "
                "ends are character offsets into the text that is scored"
            )


def encode(
    tokenizer: Any,
    questions: Sequence[str],
    texts: Sequence[str],
    ends: Sequence[Sequence[int]],
    *,
    separator: str,
    context: int,
) -> list[Encoded]:
    """Tokenise questions and texts, apart, and place the ends on the text's tokens.

    Apart, because a token that spanned the border would hide the start of the first step. The
    question keeps the tokenizer's own special tokens (a beginning-of-text token, for one).
    """
    check_rows(questions, texts, ends)
    same: dict[int, int] = {}
    encoded: list[Encoded] = []
    for begin in range(0, len(texts), ROWS_AT_ONCE):
        rows = range(begin, min(begin + ROWS_AT_ONCE, len(texts)))
        encoded += _encode(tokenizer, questions, texts, ends, rows, separator, context, same)
    return encoded


def _encode(
    tokenizer: Any,
    questions: Sequence[str],
    texts: Sequence[str],
    ends: Sequence[Sequence[int]],
    rows: range,
    separator: str,
    context: int,
    same: dict[int, int],
) -> list[Encoded]:
    """Encode some of the rows; `same` holds one integer for each token id, shared by all rows."""
    # A group asks one question many times, and a small policy repeats itself.
    asked = list(dict.fromkeys(questions[row] for row in rows))
    answered = list(dict.fromkeys(texts[row] for row in rows))

    def shared(ids: list[int]) -> tuple[int, ...]:
        return tuple(map(same.setdefault, ids, ids))

    ids = tokenizer([question + separator for question in asked])["input_ids"]
    prefixes = dict(zip(asked, map(shared, ids), strict=True))
    read = tokenizer(answered, add_special_tokens=False, return_offsets_mapping=True)
    solutions = {
        text: (shared(ids), offsets)
        for text, ids, offsets in zip(
            answered, read["input_ids"], read["offset_mapping"], strict=True
        )
    }
    encoded = []
    for row in rows:
        question, text = questions[row], texts[row]
        prefix = prefixes[question]
        own, offsets = solutions[text]
        token_ids = prefix + own
        if len(token_ids) > context:
            raise UnreadableSolution(
                f"row {row} has {len(token_ids)} tokens ({len(prefix)} of the question), the "
                f"reward model reads {context}; shorten completions or take a model with a "
                f"longer context: cutting the text would lose labels (text: {text[:60]!r})"
            )
        tokens = reach(text, ends[row], offsets, f"row {row}")
        marks = tuple(len(prefix) + token for token in tokens)
        if marks[0] < 0:
            raise UnreadableSolution(
                f"row {row}: an empty text is read at the question's last token, but this "
                "tokenizer makes no token of the question"
            )
        encoded.append(Encoded(token_ids, marks, len(prefix)))
    return encoded


def reach(
    text: str, ends: Sequence[int], offsets: Sequence[Sequence[int]], where: str
) -> list[int]:
    """Return for each end the last token that begins before it, -1 for "none, the one before".

    That token covers the end's last character; a character of several tokens (byte-level BPE) is
    read at the last of them. A step of which the tokenizer keeps nothing visible (white space,
    control characters) is read where the step before it is.
    """
    starts = [start for start, _ in offsets]
    tokens = []
    begin = 0
    for end in ends:
        token = bisect_left(starts, end) - 1
        covered = token >= 0 and offsets[token][1] > begin
        if not covered and any(c.isprintable() and not c.isspace() for c in text[begin:end]):
            raise UnreadableSolution(
                f"{where}: no token reaches the step {text[begin:end][:60]!r} that ends at "
                f"character {end}; the reward model's tokenizer drops these characters, choose "
                "another splitter or tokenizer"
            )
        tokens.append(token)
        begin = end
    return tokens
