"""One step a sentence: cut after `.`, `!` or `?` that white space follows, and after newlines.

A blank between sentences belongs to the second one, as tokenizers have it: cut behind the blank,
a step would end within the next one's first token.

A full stop inside a number (`3.5`) or inside dollar signs is not followed by white space in
practice; abbreviations ("approx. 3") are cut, which costs a short step and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iterative_grpo.splitters._cuts import close


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cut after sentence marks that white space follows, and after newlines."""

    marks: str = ".!?。！？"

    def split(self, text: str) -> tuple[int, ...]:
        """Return the step ends of `text`."""
        return close(text, self._cuts(text))

    def _cuts(self, text: str) -> Iterator[int]:
        for i, character in enumerate(text):
            if character == "\n":
                yield i + 1
            elif character.isspace() and i and text[i - 1] in self.marks:
                yield i
