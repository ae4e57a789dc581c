"""One step a line, as in GSM8K's solutions; the newline belongs to the line it closes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from iterative_grpo.splitters._cuts import close


@dataclass(frozen=True, slots=True)
class Splitter:
    """Cut after every newline; empty lines join the step before them."""

    def split(self, text: str) -> tuple[int, ...]:
        """Return the step ends of `text`."""
        return close(text, (newline.end() for newline in re.finditer("\n", text)))
