"""Why lm-eval and we disagree, told from the row itself; "" where no known cause fits.

A cause says what lm-eval does. Whether that is a fault, the row's label tells: a known cause does
not excuse our own verdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.parity_verdicts import Disagreement

Applies = Callable[["Disagreement"], bool]


def cause(found: Disagreement) -> str:
    """Return the first cause that fits a disagreement."""
    known = MATH if found.metric == "math_verify" else GSM8K
    return next((name for name, applies in known if applies(found)), "")


def _same_number(found: Disagreement) -> bool:
    return _number(found.their_answer) == _number(found.gold) is not None


def _number(text: str) -> Fraction | None:
    digits = re.sub(r"[^\d.\-]", "", text).rstrip(".")
    try:
        return Fraction(digits)
    except ValueError:
        return None


def _nothing_read(found: Disagreement) -> bool:
    # Math-Verify returns what it parsed, then the text; the text alone where it parsed nothing.
    return any(re.match(r"\[?['\"]|\[\]", read) for read in (found.their_answer, found.their_gold))


def _same_object(found: Disagreement) -> bool:
    gold, answer = (read.partition(", '")[0] for read in (found.their_gold, found.their_answer))
    return gold == answer


def _answer(found: Disagreement) -> str:
    return found.response.rpartition("\\boxed")[2][-80:]


GSM8K: tuple[tuple[str, Applies], ...] = (
    (
        "compares characters: 18.00 is not 18",
        lambda found: not found.theirs and _same_number(found),
    ),
    (
        "takes the last number of the text, which stands behind the answer",
        lambda found: not found.theirs and found.metric == "flexible-extract",
    ),
    (
        "takes the last number of a statement that names two",
        lambda found: found.theirs and " or " in found.response[-40:],
    ),
)
"""Causes for exact_match behind a regular expression, in the order they are tried."""

MATH: tuple[tuple[str, Applies], ...] = (
    ("reads no formula in one of the two, and compares characters", _nothing_read),
    (
        "drops the base of a number",
        lambda found: found.theirs and bool(re.search(r"\d_\{?\d", _answer(found))),
    ),
    (
        "takes a closed end at infinity for an open one",
        lambda found: found.theirs and "[-\\infty" in _answer(found),
    ),
    (
        "reads a part of the answer only",
        lambda found: found.theirs and _same_object(found) and found.their_answer[1:2].isdigit(),
    ),
    (
        "rounds: values that differ behind its last digit are equal",
        lambda found: found.theirs and not _same_object(found),
    ),
    (
        "takes another formula of the text for the answer",
        lambda found: (
            not found.theirs and "Eq(" in found.their_answer and "=" not in _answer(found)
        ),
    ),
    (
        "reads a separator of thousands or decimals as a product or a list",
        lambda found: bool(re.search(r"\d(?:,|\\,| )\d", f"{found.gold} {_answer(found)}")),
    ),
    (
        "reads a word as a product of its letters",
        lambda found: (
            bool(re.search(r"(?<!\\)[a-z]{2,}", _answer(found)))
            and bool(re.search(r"[a-zA-Z]\*[a-zA-Z]", found.their_answer))
        ),
    ),
    (
        "does not find its own two readings equal",
        lambda found: not found.theirs,
    ),
)
"""Causes for Math-Verify, in the order they are tried."""
