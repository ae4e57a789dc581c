"""Exact numbers with roots and pi, against sympy and against floating point."""

import math
from fractions import Fraction

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from verifiers.steps import arithmetic
from verifiers.steps.arithmetic import Number, OutOfReach

SMALL = st.fractions(-20, 20, max_denominator=12)
POSITIVE = st.fractions(Fraction(1, 12), 20, max_denominator=12)


def _sum(terms: list[tuple[Fraction, Fraction]]) -> tuple[Number, sympy.Expr]:
    number: Number = {}
    expression = sympy.Integer(0)
    for factor, radicand in terms:
        root = arithmetic.root(arithmetic.rational(radicand), 2)
        number = arithmetic.add(number, arithmetic.multiply(arithmetic.rational(factor), root))
        expression += sympy.Rational(factor) * sympy.sqrt(sympy.Rational(radicand))
    return number, expression


TERMS = st.lists(st.tuples(SMALL, POSITIVE), min_size=1, max_size=2)


@given(TERMS, TERMS)
def test_products_and_sums_equal_sympys(
    left: list[tuple[Fraction, Fraction]], right: list[tuple[Fraction, Fraction]]
) -> None:
    one, first = _sum(left)
    two, second = _sum(right)
    for mine, theirs in (
        (arithmetic.multiply(one, two), first * second),
        (arithmetic.add(one, arithmetic.negate(two)), first - second),
    ):
        back = sum(
            (sympy.Rational(f) * sympy.sqrt(radicand) for (radicand, _), f in mine.items()),
            sympy.Integer(0),
        )
        assert sympy.expand(theirs - back) == 0
        assert math.isclose(arithmetic.approximate(mine), float(theirs), abs_tol=1e-9)


@given(TERMS, TERMS)
def test_division_undoes_multiplication(
    left: list[tuple[Fraction, Fraction]], right: list[tuple[Fraction, Fraction]]
) -> None:
    one, _ = _sum(left)
    two, _ = _sum(right)
    if two:
        assert arithmetic.divide(arithmetic.multiply(one, two), two) == one


@given(st.integers(1, 10**12))
def test_square_part_is_split_off(value: int) -> None:
    ((inside, power),) = root = arithmetic.root(arithmetic.rational(value), 2)
    outside = root[inside, power]
    assert power == 0
    assert outside * outside * inside == value
    assert all(inside % (p * p) for p in (2, 3, 5, 7, 11, 13, 10007))


@pytest.mark.parametrize(
    "value", [10**12 - 11, 999983**2, 2 * 999979, 999983 * 999979, 4 * 9973**2]
)
def test_square_part_of_large_primes(value: int) -> None:
    expected = sympy.sqrt(value)
    ((inside, _),) = root = arithmetic.root(arithmetic.rational(value), 2)
    assert sympy.Rational(root[inside, 0]) * sympy.sqrt(inside) == expected


def test_what_is_out_of_reach_says_so() -> None:
    two, half = arithmetic.rational(2), arithmetic.rational(Fraction(1, 2))
    root_two = arithmetic.root(two, 2)
    for undefined in (
        lambda: arithmetic.divide(two, {}),
        lambda: arithmetic.raise_to({}, {}),
        lambda: arithmetic.root(arithmetic.rational(-1), 2),
        lambda: arithmetic.root(root_two, 2),
        lambda: arithmetic.raise_to(two, arithmetic.rational(10**9)),
        lambda: arithmetic.raise_to(two, root_two),
        lambda: arithmetic.factorial(half),
        lambda: arithmetic.factorial(arithmetic.rational(201)),
        lambda: arithmetic.choose(arithmetic.rational(1001), two),
        lambda: arithmetic.root(arithmetic.rational(10**12 + 39), 2),
        lambda: arithmetic.rational(10**2000),
    ):
        with pytest.raises(OutOfReach):
            undefined()
    assert arithmetic.raise_to(arithmetic.rational(8), arithmetic.rational(Fraction(2, 3))) == {
        (1, 0): Fraction(4)
    }
