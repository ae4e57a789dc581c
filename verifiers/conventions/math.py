r"""MATH: the last complete `\boxed{}`; else "final answer is ..."; else the text itself.

A later answer phrase overrules an earlier box. The last resort, named "fallback" in the result, is
the last math span or number of the last sentence; a sentence that expresses doubt states nothing.
"""

from __future__ import annotations

from verifiers import boxes, phrases
from verifiers.extraction import NOTHING, Extracted, Source, untagged


def extract(text: str) -> Extracted:
    """The answer that a MATH completion (or a bare answer) states."""
    text = untagged(text)
    if "boxed" in text or "\\fbox" in text:
        group = boxes.last_group(text)
        if group is not None:
            later = phrases.mathematical(text[group.end :])
            if later is not None:
                return Extracted(later, "phrase")
            if group.joined is None:
                return Extracted(group.last.strip(), "box")
            if group.explicit:
                return Extracted(group.joined, "box")
            return Extracted(group.last.strip(), "box", group.joined)
        if boxes.is_empty(text):
            return Extracted(None, "box")  # a box there is, and it states nothing
    mark = text.rfind("####")
    if mark >= 0:
        return stated(phrases.clause(text[mark + 4 :]), "marker")
    anchor = phrases.last_anchor(text)
    if anchor is not None:
        return stated(phrases.clause(text[anchor:]), "phrase")
    bare = phrases.unwrap(text)
    if not bare:
        return NOTHING
    if phrases.is_bare(bare):
        conclusion = phrases.concluded(bare).strip()
        return Extracted(conclusion, "bare") if conclusion else NOTHING
    return stated(phrases.last_math(text), "fallback")


def stated(clause: str | None, source: Source) -> Extracted:
    """The clause as an answer; the only number in it is a second reading."""
    if clause is None:
        return NOTHING
    return Extracted(clause, source, phrases.only_number(clause))
