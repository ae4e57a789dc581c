"""Steps closed by a separator, the convention of most published process reward models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iterative_grpo.splitters._cuts import close


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cut after every occurrence of `separator`."""

    separator: str = "<extra_0>"

    def __post_init__(self) -> None:
        if not self.separator:
            raise ValueError("the separator splitter needs a separator that is not empty")

    def split(self, text: str) -> tuple[int, ...]:
        """Return the step ends of `text`."""
        return close(text, self._cuts(text))

    def _cuts(self, text: str) -> Iterator[int]:
        found = text.find(self.separator)
        while found >= 0:
            yield found + len(self.separator)
            found = text.find(self.separator, found + len(self.separator))
