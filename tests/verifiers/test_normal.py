"""The exact normal form, against sympy as an independent oracle."""

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.normal import Normalizer
from verifiers.parser import parse
from verifiers.polynomials import NotNormal, Undefined
from verifiers.sampling import agree
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
    point = {s: sympy.Rational(7, 5 if s.name == "x" else 3) for s in difference.free_symbols}
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
    for text in ("9^{9^{9^9}}", "(x+y+z)^{300}", "(10^9)!", "2^{100000}"):
        with pytest.raises(NotNormal):
            Normalizer().value(parse(text))


def test_undefined_values_are_told_from_unknown_ones() -> None:
    for text in ("\\frac{1}{0}", "0^0", "\\tan\\frac{\\pi}{2}", "\\ln 0", "\\frac{x}{x-x}"):
        with pytest.raises(Undefined):
            Normalizer().value(parse(text))
