"""When two spellings ask the same question."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MARKS = re.compile(r"[\s.,;:!?'\"]+")


# Every solution asks for its question's, in several places.
@lru_cache(maxsize=100_000)
def question_digest(question: str) -> bytes:
    """Hash a question without spacing, case and sentence marks; operators make it another one.

    So do numbers: "1.5", "15" and "1 5" stay apart, while "1,000" is "1000".
    """
    folded = unicodedata.normalize("NFKC", question).casefold()
    kept = _MARKS.sub(_between, _THOUSANDS.sub("", folded))
    return hashlib.blake2b(kept.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _between(marks: re.Match[str]) -> str:
    """Return what of spacing and marks belongs to a number: the point, or the gap to the next."""
    text, begin, end = marks.string, marks.start(), marks.end()
    if not text[end : end + 1].isdecimal():
        return ""
    if text[end - 1] == ".":
        return "."
    return " " if text[max(begin - 1, 0) : begin].isdecimal() else ""
