r"""GSM8K: `#### n`, `A: n`, "The answer is n" or a box; else, by name, the last number."""

from __future__ import annotations

import re

from verifiers import boxes, phrases
from verifiers.extraction import NOTHING, Extracted, untagged

_ANSWER_LINE = re.compile(r"(?:^|\n)[ \t]*A:[ \t]*")
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?(?:/\d+)?%?|-?\$?\.\d+")


def extract(text: str) -> Extracted:
    """The answer that a GSM8K solution states."""
    text = untagged(text)
    mark = text.rfind("####")
    if mark >= 0:
        return _first_line(text[mark + 4 :])
    lines = [line.end() for line in _ANSWER_LINE.finditer(text)]
    if lines:
        return _first_line(text[lines[-1] :])
    if "boxed" in text:
        group = boxes.last_group(text)
        if group is not None:
            stated = group.joined if group.joined is not None and group.explicit else group.last
            return Extracted(stated.strip(), "box")
    anchor = phrases.last_anchor(text)
    if anchor is not None:
        stated_text = phrases.clause(text[anchor:])
        return NOTHING if stated_text is None else Extracted(stated_text, "phrase")
    bare = phrases.unwrap(text)
    if bare and phrases.is_bare(bare):
        return Extracted(bare, "bare")
    numbers = _NUMBER.findall(text[-_TAIL:])
    return Extracted(numbers[-1], "fallback") if numbers else NOTHING


_TAIL = 4_000


def _first_line(text: str) -> Extracted:
    line = text.lstrip().partition("\n")[0].strip()
    return Extracted(line, "marker") if line else NOTHING
