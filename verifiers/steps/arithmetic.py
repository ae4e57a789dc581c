r"""Exact numbers for checking steps: sums of a rational times a square root times a power of pi.

A number is a mapping from ``(radicand, power of pi)`` to a non-zero fraction, with square-free
radicands: $3/2 + 2\sqrt3$ is ``{(1, 0): 3/2, (3, 0): 2}``. Square roots of distinct square-free
integers are linearly independent over the rationals (Besicovitch 1940) and pi is transcendental, so
two numbers are equal exactly when their mappings are. Every operation is bounded in size.
"""

import math
from fractions import Fraction

Number = dict[tuple[int, int], Fraction]

MAX_BITS = 4096
MAX_TERMS = 8
MAX_RADICAND = 10**12
"""Up to here a radicand is split into square and square-free part (10^4 divisions at most)."""

_RATIONAL = (1, 0)
_PI = Fraction("3.14159265358979323846264338327950288419716939937510")


class OutOfReach(ArithmeticError):
    """A value that is not computed here: too large, undefined, or of no such form."""


def rational(value: Fraction | int) -> Number:
    """The number that is this fraction. Raises OutOfReach when it is too long."""
    value = Fraction(value)
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise OutOfReach("a number is too long")
    return {_RATIONAL: value} if value else {}


def pi() -> Number:
    """The number pi."""
    return {(1, 1): Fraction(1)}


def as_fraction(number: Number) -> Fraction | None:
    """The number as a fraction, or None when it is irrational."""
    if not number:
        return Fraction(0)
    return number.get(_RATIONAL) if len(number) == 1 else None


def approximate(number: Number) -> Fraction:
    """The number to 40 digits of its largest term."""
    return sum(
        (
            factor * Fraction(math.isqrt(radicand * 10**100), 10**50) * _PI**power
            for (radicand, power), factor in number.items()
        ),
        Fraction(0),
    )


def add(left: Number, right: Number) -> Number:
    """Sum of two numbers."""
    total = dict(left)
    for key, factor in right.items():
        total[key] = total.get(key, Fraction(0)) + factor
    return _checked(total)


def negate(number: Number) -> Number:
    """The number with its sign changed."""
    return {key: -factor for key, factor in number.items()}


def multiply(left: Number, right: Number) -> Number:
    """Product of two numbers."""
    total: Number = {}
    for (first, first_power), first_factor in left.items():
        for (second, second_power), second_factor in right.items():
            common = math.gcd(first, second)
            # Both are square-free, so what they share leaves the root and the rest stays in it.
            key = (first // common) * (second // common), first_power + second_power
            product = first_factor * second_factor * common
            total[key] = total.get(key, Fraction(0)) + product
    return _checked(total)


def divide(left: Number, right: Number) -> Number:
    """Quotient of two numbers; the divisor has one term, or two and no pi."""
    if not right:
        raise OutOfReach("division by zero")
    if len(right) == 2 and all(power == 0 for _, power in right):
        (first, first_factor), (second, second_factor) = right.items()
        conjugate = {first: first_factor, second: -second_factor}
        return divide(multiply(left, conjugate), multiply(right, conjugate))
    if len(right) > 1:
        raise OutOfReach("the divisor is a sum of roots")
    (((radicand, power), factor),) = right.items()
    return multiply(left, {(radicand, -power): 1 / (factor * radicand)})


def divide_whole(left: Number, right: Number) -> Number:
    """Quotient of two rationals rounded down, the `//` of calculators."""
    quotient = as_fraction(divide(left, right))
    if quotient is None:
        raise OutOfReach("a whole quotient of irrational numbers")
    return rational(math.floor(quotient))


def raise_to(base: Number, exponent: Number) -> Number:
    """Power with an integer exponent, or with 1/2, 1/3, ... where the root can be written."""
    degree = as_fraction(exponent)
    if degree is None:
        raise OutOfReach("an irrational exponent")
    if degree.denominator != 1:
        if degree.denominator > 64:
            raise OutOfReach("an exponent with a large denominator")
        return raise_to(root(base, degree.denominator), rational(degree.numerator))
    times = abs(degree.numerator)
    bits = max(
        (max(f.numerator.bit_length(), f.denominator.bit_length()) for f in base.values()),
        default=0,
    )
    if times * max(bits - 1, 0) > MAX_BITS or (len(base) > 1 and times > 32):
        raise OutOfReach("a power is too large")
    if degree == 0 and not base:
        raise OutOfReach("0 to the power 0")
    value = _power(base, times)
    return divide(rational(1), value) if degree < 0 else value


def root(number: Number, degree: int) -> Number:
    """Real root of a rational: square roots always, others of perfect powers only."""
    value = as_fraction(number)
    if value is None or not 2 <= degree <= 64:
        raise OutOfReach("a root of a root")
    if value < 0:
        raise OutOfReach("a root of a negative number")
    top, bottom = _whole_root(value.numerator, degree), _whole_root(value.denominator, degree)
    if top is not None and bottom is not None:
        return rational(Fraction(top, bottom))
    if degree != 2:
        raise OutOfReach("an irrational root of higher degree")
    outside, inside = _split_square(value.numerator * value.denominator)
    return {(inside, 0): Fraction(outside, value.denominator)}


def factorial(number: Number) -> Number:
    """Factorial of an integer from 0 to 200."""
    value = as_fraction(number)
    if value is None or value.denominator != 1 or not 0 <= value <= 200:
        raise OutOfReach("a factorial of no integer from 0 to 200")
    return rational(math.factorial(value.numerator))


def choose(total: Number, chosen: Number) -> Number:
    """Binomial coefficient of integers from 0 to 1000."""
    n, k = as_fraction(total), as_fraction(chosen)
    if n is None or k is None or n.denominator != 1 or k.denominator != 1:
        raise OutOfReach("a binomial coefficient of no integers")
    if not (0 <= n <= 1000 and 0 <= k <= 1000):
        raise OutOfReach("a binomial coefficient outside 0 to 1000")
    return rational(math.comb(n.numerator, k.numerator))


def _checked(number: Number) -> Number:
    kept = {key: factor for key, factor in number.items() if factor}
    if len(kept) > MAX_TERMS:
        raise OutOfReach("a sum of too many roots")
    for (radicand, power), factor in kept.items():
        bits = max(factor.numerator.bit_length(), factor.denominator.bit_length())
        if bits > MAX_BITS or radicand > MAX_RADICAND**2 or abs(power) > 64:
            raise OutOfReach("a number is too long")
    return kept


def _power(base: Number, times: int) -> Number:
    result, square = rational(1), base
    while times:
        if times & 1:
            result = multiply(result, square)
        times >>= 1
        if times:
            square = multiply(square, square)
    return result


def _whole_root(value: int, degree: int) -> int | None:
    if degree == 2:
        candidate = math.isqrt(value)
        return candidate if candidate * candidate == value else None
    if value.bit_length() > 1000:
        return None
    guess = round(value ** (1 / degree))
    return next((c for c in (guess - 1, guess, guess + 1) if c >= 0 and c**degree == value), None)


def _split_square(value: int) -> tuple[int, int]:
    """Write a positive integer as outside^2 * inside with a square-free inside."""
    if value > MAX_RADICAND:
        raise OutOfReach("a radicand is too large")
    outside, inside, rest, divisor = 1, 1, value, 2
    # Once every divisor up to the cube root is gone, the rest is p, p*q or p^2.
    while divisor * divisor * divisor <= rest:
        while rest % (divisor * divisor) == 0:
            rest //= divisor * divisor
            outside *= divisor
        if rest % divisor == 0:
            rest //= divisor
            inside *= divisor
        divisor += 1
    square = math.isqrt(rest)
    if square * square == rest:
        return outside * square, inside
    return outside, inside * rest
