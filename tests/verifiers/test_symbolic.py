"""The symbolic stage, called directly: what only sympy decides."""

import cmath
import math

import pytest
import sympy
from sympy import S

from verifiers import STRICT
from verifiers.parser import parse
from verifiers.symbolic import NotSymbolic, compare_symbolic, equal, expression, real_subset

x = sympy.Symbol("x", real=True)


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
        ("\\lim_{x\\to0}\\frac{|x|}{x}", "1", True),
        ("\\int_0^{\\infty} \\sin(x^2) dx", "\\frac{\\sqrt{2\\pi}}{4}", True),
        ("\\prod_{k=1}^{n} k", "n!", True),
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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50\\%", 0.5),
        ("90^\\circ", math.pi / 2),
        ("1011_2", 11),
        ("\\frac{2-3i}{e}", (2 - 3j) / math.e),
        ("\\sqrt[3]{-8}", -2),
        ("\\sqrt[4]{16}", 2),
        ("\\log 5", math.log10(5)),
        ("\\log_2 5", math.log2(5)),
        ("\\ln 5", math.log(5)),
        ("\\binom{7}{3}", 35),
        ("5!", 120),
        ("7!!", 105),
        ("\\lfloor\\frac{-5}{2}\\rfloor", -3),
        ("\\lceil\\frac{5}{2}\\rceil", 3),
        ("|2-3i|", math.sqrt(13)),
        ("\\max(2,3)-\\min(2,3)", 1),
        ("\\gcd(12,18)+\\operatorname{lcm}(4,6)", 18),
        ("\\arctan 2", math.atan(2)),
        ("\\int_0^2 x^2 dx", 8 / 3),
        ("\\sum_{k=0}^{3} 2^k", 15),
        ("\\prod_{k=2}^{4} k", 24),
        ("\\lim_{x\\to0^+}\\frac{|x|}{x}", 1),
    ],
)
def test_expressions_have_the_value_of_the_text(text: str, value: complex) -> None:
    assert cmath.isclose(complex(sympy.N(expression(parse(text)).doit())), value)


@pytest.mark.parametrize(
    "text",
    [
        "2^{100001}",
        "(100001)!",
        "\\binom{100001}{2}",
        "\\prod_{k=1}^{20000} k",
        "\\lim x",
        "(1,2)",
    ],
)
def test_what_has_no_expression_or_is_too_large_is_refused(text: str) -> None:
    with pytest.raises(NotSymbolic):
        expression(parse(text))


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        (sympy.sin(x) ** 2 + sympy.cos(x) ** 2, S(1), True),
        (sympy.sin(x), sympy.cos(x), False),
        (sympy.sqrt(2) + sympy.Rational(1, 10**20), sympy.sqrt(2), False),
        (S(1), S(1) + sympy.Rational(1, 10**50), False),
        (sympy.oo, S(1), False),
        (sympy.Integral(x, (x, 0, 1)), sympy.Rational(1, 2), True),
        (sympy.Integral(x, (x, 0, 1)), sympy.Rational(1, 3), False),
        (sympy.Integral(1 / x, (x, 1, sympy.oo)), S(5), False),
        (sympy.Sum(x, (x, 1, 3)), S(6), True),
    ],
)
def test_expressions_are_compared_by_value(
    left: sympy.Expr, right: sympy.Expr, verdict: bool
) -> None:
    assert equal(left, right) is verdict


@pytest.mark.parametrize(
    ("text", "subset"),
    [
        ("\\mathbb{R}", S.Reals),
        ("\\emptyset", S.EmptySet),
        ("(1,2]", sympy.Interval.Lopen(1, 2)),
        ("]1,2[", sympy.Interval.open(1, 2)),
        ("\\{1,2\\}", sympy.FiniteSet(1, 2)),
        ("[0,3]\\setminus\\{1\\}", sympy.Interval(0, 3) - sympy.FiniteSet(1)),
        ("[0,3]\\cap[2,5]", sympy.Interval(2, 3)),
        ("[0,3]\\cup[2,5]", sympy.Interval(0, 5)),
        ("\\{x \\mid x^2=4\\}", sympy.FiniteSet(-2, 2)),
        ("x \\in [0,3]", sympy.Interval(0, 3)),
        ("x \\notin [0,3]", S.Reals - sympy.Interval(0, 3)),
        ("x \\ne 1", S.Reals - sympy.FiniteSet(1)),
        ("0<x^3<8", sympy.Interval.open(0, 2)),
        ("x<0 \\text{ or } x>1", S.Reals - sympy.Interval(0, 1)),
        ("x>0, x<1", sympy.Interval.open(0, 1)),
        ("1<2", S.Reals),
        ("2<1", S.EmptySet),
    ],
)
def test_sets_are_those_of_the_text(text: str, subset: sympy.Set) -> None:
    assert real_subset(parse(text)) == subset


@pytest.mark.parametrize("text", ["x+y>1", "[-\\infty,2]", "[2,\\infty]", "x \\equiv 2", "\\sin x"])
def test_what_is_no_set_of_reals_is_refused(text: str) -> None:
    with pytest.raises(NotSymbolic):
        real_subset(parse(text))
