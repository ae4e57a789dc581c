"""The whole text is one step: outcome supervision (arXiv:2402.03300 §4.1.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Splitter:
    """One end, at the end of the text."""

    def split(self, text: str) -> tuple[int, ...]:
        """Return the one end, `len(text)`."""
        return (len(text),)
