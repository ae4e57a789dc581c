"""Stop strings: they end an answer and are no part of it."""

from __future__ import annotations

from collections.abc import Sequence


def contains(text: str, stop: Sequence[str]) -> bool:
    """Return whether a stop string is complete in a text."""
    return any(string in text for string in stop)


def before(text: str, stop: Sequence[str]) -> str:
    """Return the text in front of the first stop string, or all of it where there is none."""
    return text[: min((text.index(string) for string in stop if string in text), default=None)]
