"""One step a paragraph: cut at blank lines, as Qwen2.5-Math-PRM's data (arXiv:2501.07301)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iterative_grpo.splitters._cuts import close


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cut where a line with text follows a blank line."""

    def split(self, text: str) -> tuple[int, ...]:
        """Return the step ends of `text`."""
        return close(text, _paragraph_starts(text))


def _paragraph_starts(text: str) -> Iterator[int]:
    position = 0
    blank_before = False
    for line in text.splitlines(keepends=True):
        blank = not line.strip()
        if blank_before and not blank:
            yield position
        blank_before = blank
        position += len(line)
