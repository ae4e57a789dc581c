"""From step ends in characters to steps in tokens, on the sampled token ids.

The text is never encoded again: another segmentation of the same text could put an end inside a
token that the policy never sampled. A token belongs to the first step whose end it reaches, and
everything after the last end, EOS first of all, belongs to the last step: without that, EOS would
get no advantage and the policy no gradient to stop.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from iterative_grpo.types import Completion, check_ends


class Decoder(Protocol):
    """What is needed of a tokenizer."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str | list[str]:
        """Return the text of the token ids (a list only for a list of lists)."""
        ...


class TokenSteps:
    """Maps step ends to tokens for one tokenizer; remembers the text of single tokens."""

    def __init__(self, tokenizer: Decoder) -> None:
        self._tokenizer = tokenizer
        self._piece = functools.cache(lambda token: self._decode([token]))
        # The text of a token that others stand before.
        self._later = functools.cache(
            lambda token: self._decode([token, token])[len(self._piece(token)) :]
        )

    def tokens_of_steps(
        self, token_ids: Sequence[int], text: str, ends: Sequence[int]
    ) -> list[int]:
        """Return how many tokens belong to each step (S,): one token may close several.

        `token_ids` (T,) are the sampled ids, special tokens included; `text` their decoding
        without special tokens; `ends` (S,) its step ends. The last step has the last token.

        Raises ValueError if the ends are no cut of the text or there is no token.
        """
        check_ends(ends)
        if ends[-1] != len(text):
            raise ValueError(
                f"the last step end is {ends[-1]} but the text has {len(text)} characters; "
                "a splitter closes the last step at the end of the text"
            )
        if not token_ids:
            raise ValueError("a completion needs at least one sampled token, found none")
        if len(ends) == 1:
            return [len(token_ids)]
        reached = self._characters_reached(token_ids, text)
        # The token after the first one that reaches an end opens the next step. The last sampled
        # token closes the last step even if its text ends elsewhere.
        last = len(token_ids) - 1
        firsts = [min(bisect.bisect_left(reached, end) + 1, last) for end in ends[:-1]]
        return [b - a for a, b in itertools.pairwise([0, *firsts, len(token_ids)])]

    def spread(
        self, completion: Completion, ends: Sequence[int], values: Sequence[float], width: int
    ) -> NDArray[np.float32]:
        """Return each token's step's value (width,), zero behind the last token.

        `ends` and `values` (S,) are the steps of the completion's text.
        """
        counts = self.tokens_of_steps(completion.token_ids, completion.text, ends)
        behind = width - len(completion.token_ids)
        return np.repeat(np.array([*values, 0.0], dtype=np.float32), [*counts, behind])

    def _characters_reached(self, token_ids: Sequence[int], text: str) -> list[int]:
        """Return, for each token, how many characters of `text` are complete after it."""
        pieces = list(map(self._piece, token_ids))
        if "".join(pieces) == text:
            return list(itertools.accumulate(map(len, pieces)))
        # Byte-level tokens that share a character, or a decoder that looks at neighbours
        # (SentencePiece's leading space). Where that is not all, decode growing prefixes.
        return self._by_characters(token_ids, text) or self._by_prefixes(token_ids, text)

    def _by_characters(self, token_ids: Sequence[int], text: str) -> list[int] | None:
        """Decode together only tokens that share a character; None if that is not the text."""
        parts: list[str] = []
        reached: list[int] = []
        total = 0
        shared: list[int] = []
        shown = ""
        for token in token_ids:
            # The decoder may treat the start of a text in another way than what follows.
            piece = self._later(token) if total or shared else self._piece(token)
            if not shared and "�" not in piece:
                parts.append(piece)
                total += len(piece)
                reached.append(total)
                continue
            shared.append(token)
            shown = self._decode(shared)
            # An unfinished character decodes to U+FFFD: it is complete only with its last byte.
            reached.append(total + len(shown.rstrip("�")))
            if not shown.endswith("�"):
                parts.append(shown)
                total += len(shown)
                shared = []
        if shared:
            parts.append(shown)
        if "".join(parts) != text:
            return None
        reached[-1] = len(text)
        return reached

    def _by_prefixes(self, token_ids: Sequence[int], text: str) -> list[int]:
        reached: list[int] = []
        anchor, base, window = 0, 0, 8
        for count in range(1, len(token_ids) + 1):
            piece = self._decode(token_ids[anchor:count])
            # An unfinished character decodes to U+FFFD: it is complete only with its last byte.
            whole = len(piece.rstrip("�"))
            now = base + whole
            reached.append(min(max(now, reached[-1] if reached else 0), len(text)))
            if count - anchor >= 4 * window and not piece.endswith("�"):
                moved = count - window
                kept = self._decode(token_ids[moved:count])
                if piece.endswith(kept) and not kept.startswith("�"):
                    base += len(piece) - len(kept)
                    anchor = moved
        reached[-1] = len(text)
        return reached

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=True))
