"""Evaluation at raised precision, against floating point and against near misses."""

import cmath
import math

import pytest

from verifiers.parser import parse
from verifiers.sampling import NoValue, agree, approximate, beyond_reach, proportional

VALUES: list[tuple[str, complex]] = [
    ("\\frac{7}{2}", 3.5),
    ("50\\%", 0.5),
    ("90^\\circ", math.pi / 2),
    ("1011_2", 11),
    ("\\pi e", math.pi * math.e),
    ("2-3i", 2 - 3j),
    ("0^2", 0),
    ("(-2)^3", -8),
    ("(-8)^{2/3}", 4),
    ("\\sqrt[3]{-8}", -2),
    ("\\sqrt[5]{-32}", -2),
    ("\\sqrt[7]{-128}", -2),
    ("\\sqrt{-4}", 2j),
    ("\\ln 5", math.log(5)),
    ("\\log 5", math.log10(5)),
    ("\\log_2 5", math.log2(5)),
    ("|2-3i|", math.sqrt(13)),
    ("\\zeta(3)", 1.2020569031595942),
    ("\\Gamma(5)", 24),
    ("5!", 120),
    ("\\lfloor\\frac{-5}{2}\\rfloor", -3),
    ("\\lceil\\frac{5}{2}\\rceil", 3),
    ("\\operatorname{cis} 2", cmath.exp(2j)),
    ("\\binom{7}{3}", 35),
    ("\\tan 2", math.tan(2)),
    ("\\arctan 2", math.atan(2)),
    ("\\sum_{k=0}^{3} 2^k", 15),
    ("\\prod_{k=2}^{4} k", 24),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_values_are_those_of_floating_point(text: str, value: complex) -> None:
    assert cmath.isclose(complex(approximate(parse(text))), value, rel_tol=1e-14)


@pytest.mark.parametrize(
    "text",
    [
        "\\frac{1}{0}",
        "0^0",
        "0^{-1}",
        "\\sqrt[0]{5}",
        "\\ln 0",
        "\\ln(-2)",
        "\\log(-2)",
        "\\log_2(-8)",
        "\\log_1 5",
        "\\infty",
        "x",
        "2^{10^9}",
        "2^{60000}\\cdot 3^{60000}\\cdot 5^{60000}",
        "\\sin(2^{3000})",
        "(10^9)!",
        "\\lfloor\\sqrt{2}\\sqrt{2}\\rfloor",
        "\\sum_{k=1}^{10000} k",
        "\\sum_{k=1}^{5/2} k",
        "\\int_0^1 x dx",
    ],
)
def test_what_has_no_value_or_costs_too_much_has_none(text: str) -> None:
    with pytest.raises(NoValue):
        approximate(parse(text))


LARGE = "+".join(f"\\sin {n}" for n in range(2, 250))


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        # differences far below the digits shown
        ("1", "\\cos(10^{-30})", False),
        ("\\sin x", "(1+10^{-30})\\sin x", False),
        ("10^{-60}\\sin x", "10^{-60}\\cos x", False),
        ("0\\cdot\\sin x", "0\\cdot\\cos x", True),
        # lost in rounding at the lower precision, found at the higher one
        ("(10^{40}+\\sin x)-10^{40}", "\\sin x", None),
        # outside the real domain nothing is learnt, and one point alone proves nothing
        ("\\sqrt[4]{x^2-1}", "\\sqrt[4]{x-1}\\sqrt[4]{x+1}", True),
        ("\\sqrt{x-7}\\,x", "\\sqrt{x-7}\\,|x|", None),
        # no real point has a value: complex ones decide
        ("\\frac{\\sin(2\\ln(x-10))}{2}", "\\sin(\\ln(x-10))\\cos(\\ln(x-10))", True),
        ("\\sin(2\\ln(x-10))", "\\sin(\\ln(x-10))\\cos(\\ln(x-10))", False),
        # complex values at real points
        ("e^{ix}", "\\cos x+i\\sin x", True),
        ("\\operatorname{cis} x", "\\cos x+i\\sin x", True),
        ("\\cos x", "\\frac{e^{ix}+e^{-ix}}{2}", True),
        ("\\cos x+i\\sin x", "\\cos x+i\\sqrt{1-\\cos^2 x}", False),
        ("\\operatorname{cis} x", "\\cos x+i\\sqrt{1-\\cos^2 x}", False),
        # too much to evaluate
        (LARGE, f"{LARGE}+1", None),
        ("+".join("abcdefghjklmn"), "+".join("abcdefghjklmo"), None),
    ],
)
def test_agreement_needs_digits_and_points(left: str, right: str, equal: bool | None) -> None:
    assert agree(parse(left), parse(right)) is equal


@pytest.mark.parametrize(
    ("left", "right", "positive", "multiple"),
    [
        ("\\sin x", "2\\sin x", True, True),
        ("\\sin x", "-2\\sin x", True, False),
        ("\\sin x", "-2\\sin x", False, True),
        ("\\sin x", "\\sin x+10^{-10}", False, False),
        ("\\sqrt{x-7}", "2\\sqrt{x-7}", False, None),
        ("2", "3", False, None),
    ],
)
def test_multiples_are_told_by_their_ratio(
    left: str, right: str, positive: bool, multiple: bool | None
) -> None:
    assert proportional(parse(left), parse(right), positive=positive) is multiple


@pytest.mark.parametrize(
    ("text", "beyond"),
    [
        ("2^{99999}", False),
        ("2^{100001}", True),
        ("2^{-100001}", True),
        ("(10^9)!", True),
        ("\\binom{10^9}{2}", True),
        ("2^{\\frac{1}{0}}", True),
        ("2^x", False),
        ("\\prod_{k=1}^{9999} k", False),
        ("\\prod_{k=1}^{20000} k", True),
        ("\\sum_{k=1}^{20000} k", False),
    ],
)
def test_what_no_stage_would_work_out_is_known_beforehand(text: str, beyond: bool) -> None:
    assert beyond_reach(parse(text)) is beyond
