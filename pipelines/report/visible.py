"""Text of a model for human eyes: nothing in it can act on a page, a terminal or a reader."""

from __future__ import annotations

import unicodedata

LIMIT = 6_000
"""Characters of one text that are shown."""

_KEPT = {"\n", "\t"}
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that are shown as escapes: controls, direction marks, lone surrogates, ..."""


def visible(text: str, limit: int = LIMIT) -> str:
    """Return the text with all that cannot be seen written as an escape, cut to `limit`.

    A direction mark would turn the order of what follows, an escape sequence would drive the
    terminal, a lone surrogate cannot be written as UTF-8 at all.
    """
    shown = "".join(
        c
        if c in _KEPT or unicodedata.category(c) not in _UNSEEN
        else c.encode("unicode_escape").decode("ascii")
        for c in text[:limit]
    )
    left_out = len(text) - limit
    return f"{shown} [... {left_out} more characters]" if left_out > 0 else shown
