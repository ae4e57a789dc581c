"""Deciding cheaply whether two answers are the same."""

from __future__ import annotations

import re
from fractions import Fraction

from verifiers.policy import Policy

_DECIMAL = re.compile(r"[-+]?\$?(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?")


def compare_cheap(candidate: str, gold: str, policy: Policy) -> bool | None:
    """True or False where the pair can be decided in process, None where it cannot."""
    left, right = _plain(candidate), _plain(gold)
    if left is not None and right is not None:
        return left == right
    return True if "".join(candidate.split()) == "".join(gold.split()) else None


def _plain(text: str) -> Fraction | None:
    text = text.strip().rstrip(".")
    if len(text) > 1000 or not _DECIMAL.fullmatch(text) or not any(c.isdigit() for c in text):
        return None
    return Fraction(text.replace(",", "").replace("$", ""))
