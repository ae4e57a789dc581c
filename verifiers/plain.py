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
    """The value of an answer that `verify` reads as the same plain number on either side.

    Of two answers with a value, `verify` finds one equal to the other as a gold if the values are
    equal, and not if they differ: no two of them need be asked about. None for any other answer,
    and where the convention does not read a bare number as its answer.
    """
    value = value_of(text)
    if value is None:
        return None
    found = conventions.load(convention)(visible(text))
    if found.text is None or found.alternative is not None:
        return None
    return value if value_of(found.text) == value == value_of(gold_text(text)) else None
