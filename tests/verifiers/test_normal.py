"""The exact normal form, against sympy and evaluation as independent oracles."""

import cmath
import math

import mpmath
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.normal import Normalizer
from verifiers.parser import parse
from verifiers.polynomials import NotNormal, Polynomial, Undefined
from verifiers.sampling import agree, evaluate
from verifiers.symbolic import expression

leaves = st.one_of(
    st.integers(0, 12).map(str),
    st.sampled_from(["x", "y", "\\pi", "e", "i", "\\sqrt{2}", "\\sqrt{3}", "\\frac{1}{2}"]),
)


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("({}+{})".format, inner, inner),
        st.builds("({}-{})".format, inner, inner),
        st.builds("({})({})".format, inner, inner),
        st.builds("\\frac{{{}}}{{{}}}".format, inner, inner),
        st.builds("({})^{{{}}}".format, inner, st.integers(-2, 3)),
    )


expressions = st.recursive(leaves, compound, max_leaves=6)


@settings(max_examples=150)
@given(expressions, expressions)
def test_equal_forms_are_equal_values(left: str, right: str) -> None:
    c, g = parse(left), parse(right)
    normalizer = Normalizer()
    try:
        same = normalizer.equal(normalizer.value(c), normalizer.value(g))
    except NotNormal:  # Undefined among them
        return
    difference = sympy.expand(sympy.cancel(sympy.radsimp(expression(c) - expression(g))))
    # Primes that no difference of small numbers is zero at, as 10x - 14 is at 7/5.
    place = {"x": sympy.Rational(7919, 5101), "y": sympy.Rational(7907, 5099)}
    point = {symbol: place.get(symbol.name, 1) for symbol in difference.free_symbols}
    assert same is bool(abs(sympy.N(difference.subs(point), 30)) < 1e-20)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("\\sin 3x", "3\\sin x - 4\\sin^3 x", True),
        ("\\sin 3x", "3\\sin x - 4\\sin^2 x", False),
        ("\\tan(x+y)", "\\frac{\\tan x+\\tan y}{1-\\tan x\\tan y}", True),
        ("\\ln(x^2)", "2\\ln x", True),
        ("\\sqrt{x^2}", "x", False),
        ("\\arctan x + \\arctan\\frac{1}{x}", "\\frac{\\pi}{2}", False),
        ("e^{\\pi\\sqrt{163}}", "262537412640768744", False),
        ("\\cos\\frac{\\pi}{7}-\\cos\\frac{2\\pi}{7}+\\cos\\frac{3\\pi}{7}", "\\frac12", True),
        ("\\sqrt[3]{2+\\sqrt5}+\\sqrt[3]{2-\\sqrt5}", "1", True),
        ("\\sum_{k=1}^{10} k^2", "385", True),
    ],
)
def test_evaluation_tells_identities_from_near_misses(left: str, right: str, equal: bool) -> None:
    assert agree(parse(left), parse(right)) is equal


def test_numbers_over_the_caps_have_no_form() -> None:
    for text in (
        "9^{9^{9^9}}", "(x+y+z)^{300}", "(10^9)!", "2^{100000}", "\\sqrt{2^{5000}+1}",
        "\\sin^{18} x", "(x+1)^{401}", "\\sqrt[4]{-1}", "\\ln(-2)", "\\ln(2i)", "(-2)^n",
        "1+\\ldots",
    ):  # fmt: skip
        with pytest.raises(NotNormal):
            Normalizer().value(parse(text))


def test_undefined_values_are_told_from_unknown_ones() -> None:
    for text in (
        "\\frac{1}{0}", "0^0", "\\tan\\frac{\\pi}{2}", "\\ln 0", "\\frac{x}{x-x}", "0^{-1/2}",
        "(-1)!", "5 \\bmod 0", "\\sqrt[-2]{5}",
    ):  # fmt: skip
        with pytest.raises(Undefined):
            Normalizer().value(parse(text))


POINT: dict[str, complex] = {"x": 1.7, "y": 0.6}


def evaluated(normalizer: Normalizer, polynomial: Polynomial) -> complex:
    """What a normal form is worth, from its atoms; KeyError for one that is no number here."""

    def atom(name: str) -> complex:
        if name[0] == "#":
            return int(name[1:])
        if name[:2] == "@R":
            return evaluated(normalizer, normalizer.sums[name])
        if name[:2] == "@L":
            return cmath.log(evaluated(normalizer, normalizer.sums[name]))
        if name[0] == "|":
            return abs(atom(name[1:]))
        return {"pi": math.pi, "e": math.e, "@i": 1j}.get(name) or POINT[name.removeprefix("v")]

    return sum(
        float(factor) * math.prod(atom(name) ** float(power) for name, power in monomial)
        for monomial, factor in polynomial.items()
    )


@pytest.mark.parametrize(
    "text",
    [
        "i^2", "i^3", "i^5", "i^{-1}", "(2-i)^3", "90^\\circ", "(-1)^7",
        "\\sqrt{\\frac{8}{27}}", "\\sqrt[3]{-\\frac{2}{9}}", "\\sqrt{-12}", "12^{-3/2}", "0^{1/2}",
        "\\sqrt{3-2\\sqrt2}", "\\sqrt{3+2\\sqrt2}", "\\sqrt{2\\sqrt2-1}", "\\sqrt{\\sqrt2-1}",
        "\\sqrt{4000014000011}", "\\sqrt{4012009}", "\\sqrt{\\frac{x+1}{x+y}}", "|-3|", "|2ix|",
        "\\sqrt{x^4y^2}", "\\sqrt{x^6}", "|-3xy|", "|x|^3", "\\left|\\frac{x}{-y}\\right|",
        "\\ln\\frac{8x^3}{5y}", "\\ln(2e^3\\sqrt6)", "\\ln(x^2)", "\\ln(6x+4)", "\\log_8 4",
        "\\log 50",
        "\\arcsin\\frac{\\sqrt2}{2}", "\\arcsin(-\\frac{\\sqrt3}{2})", "\\arccos(-\\frac12)",
        "\\arccos 1",
        "\\arctan\\frac{\\sqrt3}{3}", "\\arctan(-\\sqrt3)", "\\cot\\frac{5\\pi}{6}",
        "\\sec\\frac{\\pi}{12}",
        "\\csc(-\\frac{\\pi}{8})", "\\operatorname{cis}\\frac{5\\pi}{4}", "\\binom{7}{3}",
        "\\frac{2x+2}{4y+6}", "\\frac{1}{x+1}-\\frac{3}{2-y}", "\\frac{x}{3}\\div\\frac{y}{2-x}",
        *(f"\\{name}\\frac{{{k}\\pi}}{{{n}}}" for name in ("sin", "cos") for n in (8, 10, 12)
          for k in range(-3, 2 * n)),
    ],
)  # fmt: skip
def test_a_normal_form_is_worth_what_the_expression_is(text: str) -> None:
    normalizer = Normalizer()
    node = parse(text)
    value = normalizer.value(node)
    worth = evaluated(normalizer, value.top) / evaluated(normalizer, value.bottom)
    context = mpmath.MPContext()
    expected = complex(evaluate(node, {n: context.mpc(v) for n, v in POINT.items()}, context))
    assert cmath.isclose(worth, expected, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7!!", 105),
        ("(-1)^{10^9}", 1),
        ("(-1)^{10^9+1}", -1),
        ("\\gcd(12,18)", 6),
        ("\\binom{3}{-1}", 0),
        ("\\binom{3}{5}", 0),
        ("\\operatorname{lcm}(12,18)", 36),
        ("\\lceil 3\\rceil", 3),
        ("\\lceil -\\frac52\\rceil", -2),
        ("\\operatorname{sgn}(-3)", -1),
        ("-7 \\bmod 3", 2),
        ("\\min(3,2)", 2),
        ("\\begin{vmatrix}1&2&0\\\\3&4&1\\\\5&7&2\\end{vmatrix}", -1),
    ],
)
def test_whole_results_are_whole(text: str, value: int) -> None:
    assert Normalizer().value(parse(text)).rational() == value


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("\\sin(-x)", "-\\sin x", True),
        ("\\cos(-x)", "\\cos x", True),
        ("\\sin^3 x", "\\sin x-\\sin x\\cos^2 x", True),
        ("\\arctan(-x)", "-\\arctan x", True),
        ("\\arccos(-x)", "-\\arccos x", False),
        ("|x-y|", "|y-x|", True),
        ("6^n", "2^n 3^n", True),
        ("(\\frac{1}{2})^n", "2^{-n}", True),
        ("(2x)^n", "2^n x^n", True),
        ("\\log_2 x", "\\log_3 x", False),
        ("f(x^2)", "f(x)", False),
        ("2^{x^2}", "2^x", False),
    ],
)
def test_forms_with_atoms(left: str, right: str, equal: bool) -> None:
    normalizer = Normalizer()
    values = normalizer.value(parse(left)), normalizer.value(parse(right))
    assert normalizer.equal(*values) is equal
