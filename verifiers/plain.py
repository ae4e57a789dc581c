"""Plain decimal numbers: the answers that are compared by their value alone."""

from __future__ import annotations

import re
from fractions import Fraction

from verifiers import conventions
from verifiers.extraction import gold_text, visible

_PLAIN = re.compile(r"[-+]?(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)?(?:\.\d*)?")


def value_of(text: str) -> Fraction | int | None:
    """The value of a plain decimal number, None for anything else."""
    text = text.strip()
    if len(text) > 400 or not _PLAIN.fullmatch(text) or not any(map(str.isdigit, text)):
        return None
    if not text.isascii():
        return None
    text = text.replace(",", "").rstrip(".")
    return Fraction(text) if "." in text else int(text)


def number_of(text: str, convention: str) -> Fraction | int | None:
    """The value of a stated answer that is a plain number, None for any other.

    Two answers with a value are the same answer if the values are equal, and not if they differ:
    `verify` says so of one as a response to the other as a gold, and need not be asked. A
    convention that reads an answer behind its mark alone finds none in a bare number; what the
    answer is worth is the same for all conventions.
    """
    value = value_of(text)
    if value is None:
        return None
    found = conventions.load(convention)(visible(text))
    if found.text is not None and (found.alternative or value_of(found.text) != value):
        return None
    return value if value_of(gold_text(text)) == value else None
