"""The symbolic stage, called directly: what only sympy decides."""

import pytest

from verifiers import STRICT
from verifiers.symbolic import compare_symbolic


@pytest.mark.parametrize(
    ("candidate", "gold", "equal"),
    [
        ("\\int_0^1 x^2\\,dx", "\\frac13", True),
        ("\\int_0^1 x^2\\,dx", "\\frac12", False),
        ("\\int_0^{\\pi} \\sin x \\, dx", "2", True),
        ("\\int x\\,dx", "\\frac{x^2}{2}", True),
        ("\\sum_{n=1}^{\\infty} \\frac{1}{n^2}", "\\frac{\\pi^2}{6}", True),
        ("\\sum_{k=1}^{n} k", "\\frac{n(n+1)}{2}", True),
        ("\\lim_{x\\to0}\\frac{\\sin x}{x}", "1", True),
        ("\\lim_{x\\to0}\\frac{\\sin x}{x}", "0", False),
        ("x^2-5x+6<0", "(2,3)", True),
        ("x^3-x>0", "(-1,0)\\cup(1,\\infty)", True),
        ("x^3-x>0", "(-1,0)\\cup(2,\\infty)", False),
        ("x^2+1>0", "\\mathbb{R}", True),
        ("\\frac{x-1}{x+2}\\ge0", "(-\\infty,-2)\\cup[1,\\infty)", True),
    ],
)
def test_what_the_cheap_stages_leave_open(candidate: str, gold: str, equal: bool) -> None:
    assert compare_symbolic(candidate, gold, STRICT) is equal


def test_towers_are_not_built() -> None:
    assert compare_symbolic("9^{9^{9^9}}", "7", STRICT) is False
    assert compare_symbolic("\\prod_{n=1}^{10^9} n", "0", STRICT) is False
