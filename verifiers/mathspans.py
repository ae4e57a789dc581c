r"""Math delimiters in prose: `$...$`, `$$...$$`, `\(...\)` and `\[...\]`, found in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MARK = re.compile(r"\\.|\$\$|\$", re.DOTALL)
_CLOSING = {"\\(": "\\)", "\\[": "\\]", "$": "$", "$$": "$$"}


@dataclass(frozen=True, slots=True)
class Span:
    """A math span: `text[start:end]` with its delimiters, `inner` without."""

    start: int
    end: int
    inner: str


def spans(text: str) -> list[Span]:
    """The closed math spans of a text, in order; an escaped dollar delimits nothing."""
    found: list[Span] = []
    opened = ""
    start = after = 0
    for mark in _MARK.finditer(text):
        kind = mark.group()
        if not opened:
            if kind in _CLOSING:
                opened, start, after = kind, mark.start(), mark.end()
            continue
        if kind == _CLOSING[opened] or (opened == "$" and kind == "$$"):
            inner = text[after : mark.start()]
            # "$a$$b$" is two spans: the second dollar opens the next one.
            double = opened == "$" and kind == "$$"
            end = mark.end() - double
            if inner.strip():
                found.append(Span(start, end, inner))
            opened = "$" if double else ""
            start, after = end, mark.end()
    return found


def without(text: str) -> str:
    """The prose of a text, every math span replaced by a space."""
    parts: list[str] = []
    at = 0
    for span in spans(text):
        parts.append(text[at : span.start])
        at = span.end
    parts.append(text[at:])
    return " ".join(parts)
