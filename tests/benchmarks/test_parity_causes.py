"""What `benchmarks/parity.py` says about a disagreement, on rows as they were met."""

from __future__ import annotations

import pytest

from benchmarks.parity_causes import cause
from benchmarks.parity_verdicts import Disagreement


def row(
    metric: str, gold: str, response: str, *, theirs: bool, read: str, gold_read: str = ""
) -> Disagreement:
    return Disagreement(
        metric=metric,
        collection="made here",
        id="1",
        gold=gold,
        response=response,
        right=not theirs,
        ours=not theirs,
        our_outcome="",
        our_answer=None,
        theirs=theirs,
        their_answer=read,
        their_gold=gold_read,
        fault="lm-eval",
        cause="",
    )


@pytest.mark.parametrize(
    ("metric", "gold", "response", "theirs", "read", "expected"),
    [
        ("strict-match", "18", "#### 18.00", False, "['18.00']", "compares characters"),
        (
            "flexible-extract",
            "18",
            "#### 18\n\nIn 3 steps.",
            False,
            "['3']",
            "the last number of the",
        ),
        ("flexible-extract", "18", "#### 25 or 18", True, "['18']", "a statement that names two"),
        ("strict-match", "18", "#### 18", False, "['17']", ""),
        ("flexible-extract", "18", "#### 19", True, "['18']", ""),
    ],
)
def test_gsm8k(
    metric: str, gold: str, response: str, theirs: bool, read: str, expected: str
) -> None:
    said = cause(row(metric, gold, response, theirs=theirs, read=read))
    assert expected in said
    assert bool(said) is bool(expected)


@pytest.mark.parametrize(
    ("gold", "response", "theirs", "gold_read", "read", "expected"),
    [
        ("25_{6}", r"\boxed{25_{7}}", True, "[25, '25_{6}']", "[25, '25_{7}']", "drops the base"),
        ("33\\%", r"\boxed{33%}", False, "['33\\\\%']", "['33%']", "reads no formula"),
        ("x", r"\boxed{x}", False, "[x, 'x']", "[]", "reads no formula"),
        ("4", r"$4\sqrt(2)$", True, "[4, '4']", "[4, '4\\\\sqrt{2}']", "a part of the answer"),
        (
            r"(-\infty,4)",
            r"\boxed{[-\infty,4)}",
            True,
            "[Interval.open(-oo, 4), '(..']",
            "[Interval.open(-oo, 4), '[..']",
            "closed end at infinity",
        ),
        (
            r"\frac{1}{2^{99}}",
            r"$\frac{1}{2^{98}}$",
            True,
            "[1/2**99, '..']",
            "[1/2**98, '..']",
            "rounds",
        ),
        ("60000", r"\boxed{60\,000}", False, "[60000, '..']", "[60*0, '..']", "a separator"),
        (r"\pi/2", "$pi/2$", False, "[pi/2, '..']", "[(i*p)/2, 'pi/2']", "product of its letters"),
        ("28", r"so $x=1$ and \boxed{28\%}", False, "[28, '28']", "[Eq(x, 1), '28']", "another"),
        ("x^2", r"\boxed{x^{2}}", False, "[x**2, 'x']", "[x**2, 'x']", "its own two readings"),
        # Accepted by lm-eval though both sides read the same thing: no known cause.
        ("x", r"\boxed{x+1}", True, "[x, 'x']", "[x, 'x+1']", ""),
    ],
)
def test_math(
    gold: str, response: str, theirs: bool, gold_read: str, read: str, expected: str
) -> None:
    found = row("math_verify", gold, response, theirs=theirs, read=read, gold_read=gold_read)
    said = cause(found)
    assert expected in said
    assert bool(said) is bool(expected)
