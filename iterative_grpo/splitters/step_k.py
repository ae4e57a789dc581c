"""One step for each line that starts with `Step k:`, as Math-Shepherd's data (arXiv:2312.08935)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iterative_grpo.splitters._cuts import close


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cut before every line that starts with the word, a number and a colon or a full stop."""

    word: str = "Step"

    def split(self, text: str) -> tuple[int, ...]:
        """Return the step ends of `text`."""
        return close(text, self._cuts(text))

    def _cuts(self, text: str) -> Iterator[int]:
        position = 0
        for line in text.splitlines(keepends=True):
            if self._opens_step(line.lstrip()):
                yield position
            position += len(line)

    def _opens_step(self, line: str) -> bool:
        if not line.lower().startswith(self.word.lower()):
            return False
        rest = line[len(self.word) :].lstrip()
        number = len(rest) - len(rest.lstrip("0123456789"))
        return number > 0 and rest[number : number + 1] in (":", ".")
