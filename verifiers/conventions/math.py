r"""MATH: the last complete `\boxed{}`; else "final answer is ..."; else the text itself.

The last resort, named "fallback" in the result, is the last math span or number of the last
sentence; a sentence that expresses doubt states nothing.
"""

from __future__ import annotations

from verifiers import boxes, phrases
from verifiers.extraction import NOTHING, Extracted


def extract(text: str) -> Extracted:
    """The answer that a MATH completion (or a bare answer) states."""
    if "boxed" in text or "\\fbox" in text:
        group = boxes.last_group(text)
        if group is not None:
            if group.joined is None:
                return Extracted(group.last.strip(), "box")
            if group.explicit:
                return Extracted(group.joined, "box")
            return Extracted(group.last.strip(), "box", group.joined)
        if "\\boxed{}" in text:
            return NOTHING
    mark = text.rfind("####")
    if mark >= 0:
        stated = phrases.clause(text[mark + 4 :])
        return NOTHING if stated is None else Extracted(stated, "marker")
    anchor = phrases.last_anchor(text)
    if anchor is not None:
        stated = phrases.clause(text[anchor:])
        return NOTHING if stated is None else Extracted(stated, "phrase")
    bare = phrases.unwrap(text)
    if not bare:
        return NOTHING
    if phrases.is_bare(bare):
        return Extracted(bare, "bare")
    last = phrases.last_math(text)
    return NOTHING if last is None else Extracted(last, "fallback")
