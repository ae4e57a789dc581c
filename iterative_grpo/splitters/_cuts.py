"""From raw cut positions to step ends, with the rules every splitter shares."""

from __future__ import annotations

from collections.abc import Iterable


def close(text: str, cuts: Iterable[int]) -> tuple[int, ...]:
    """Return the ends of `text` cut at ascending positions `cuts`.

    A piece of white space alone is no step: it joins the step before it, at the start of the text
    the step after it. The last end is `len(text)`, so that no character is left without a step.
    """
    ends: list[int] = []
    start = 0
    for cut in cuts:
        if not start < cut < len(text):
            continue
        if text[start:cut].strip():
            ends.append(cut)
            start = cut
        elif ends:
            # White space after a step belongs to that step.
            ends[-1] = start = cut
    if ends and not text[start:].strip():
        ends[-1] = len(text)
    else:
        ends.append(len(text))
    return tuple(ends)
