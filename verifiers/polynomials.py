"""Polynomials over atoms, their quotients, and arithmetic on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

Rational = int | Fraction


Monomial = tuple[tuple[str, Rational], ...]


Polynomial = dict[Monomial, Rational]


MAX_TERMS = 1_500


MAX_BITS = 20_000


MAX_POWER = 400


ONE: Polynomial = {(): 1}


class NotNormal(Exception):
    """The expression has no normal form here: not a scalar, or over the caps."""


class Undefined(NotNormal):
    """The expression has no value: a division by zero, or an operation on infinities."""


@dataclass(frozen=True, slots=True)
class Value:
    """`top / bottom`; `bottom` is ONE or has several terms."""

    top: Polynomial
    bottom: Polynomial

    def rational(self) -> Fraction | None:
        """The value where it is a rational number."""
        if self.bottom is not ONE:
            return None
        if not self.top:
            return Fraction(0)
        if len(self.top) == 1 and () in self.top:
            return Fraction(self.top[()])
        return None


class Algebra:
    """Arithmetic of values; atoms made of sums are remembered, so that they can be expanded."""

    def __init__(self) -> None:
        self.sums: dict[str, Polynomial] = {}
        self.independent = True
        """False once an atom came up of which unequal forms may be equal values."""
        self.work = 0

    def equal(self, left: Value, right: Value) -> bool:
        """Whether two values have the same normal form."""
        if left.bottom == right.bottom:
            return left.top == right.top
        return self.times(left.top, right.bottom) == self.times(right.top, left.bottom)

    def plus(self, left: Polynomial, right: Polynomial) -> Polynomial:
        """The sum."""
        total = dict(left)
        for monomial, coefficient in right.items():
            value = total.get(monomial, 0) + coefficient
            if value:
                total[monomial] = value
            else:
                total.pop(monomial, None)
        return total

    def times(self, left: Polynomial, right: Polynomial) -> Polynomial:
        """The product. Raises NotNormal over the caps."""
        if left is ONE:
            return right
        if right is ONE:
            return left
        self.spend(len(left) * len(right))
        total: Polynomial = {}
        for m1, c1 in left.items():
            for m2, c2 in right.items():
                coefficient = c1 * c2
                _check_size(coefficient)
                if not m1:
                    product: Polynomial | None = None
                    monomial = m2
                elif not m2:
                    product = None
                    monomial = m1
                else:
                    monomial, product = self.join(m1, m2)
                if product is None:
                    value = total.get(monomial, 0) + coefficient
                    if value:
                        total[monomial] = value
                    else:
                        total.pop(monomial, None)
                else:
                    total = self.plus(total, {m: c * coefficient for m, c in product.items()})
        if len(total) > MAX_TERMS:
            raise NotNormal("too many terms")
        return total

    def spend(self, amount: int) -> None:
        """Counts work. Raises NotNormal past the cap."""
        self.work += amount
        if self.work > 40_000:
            raise NotNormal("too much work")

    def join(self, left: Monomial, right: Monomial) -> tuple[Monomial, Polynomial | None]:
        """The product of two monomials: a monomial, or a polynomial where an atom reduces."""
        exponents = dict(left)
        reduce = False
        for atom, exponent in right:
            total = exponents.get(atom, 0) + exponent
            if total == 0:
                exponents.pop(atom, None)
            else:
                exponents[atom] = total
                if atom[0] in "#@|":
                    reduce = True
        if not reduce:
            return tuple(sorted(exponents.items())), None
        return (), self.reduced(exponents)

    def reduced(self, exponents: dict[str, Rational]) -> Polynomial:
        """A product of atoms with the special ones reduced to their normal exponents.

        `#` atoms are integers under a root, exponent in (0, 1); `@i`, exponent 1; `@S...` sines,
        exponent 1; `@R...` sums under a root, exponent in (0, 1).
        """
        for atom in [a for a in exponents if a[0] == "|"]:
            if exponents[atom] % 2 == 0:  # |x|^2 is x^2
                exponents[atom[1:]] = exponents.pop(atom) + exponents.get(atom[1:], 0)
        coefficient: Rational = 1
        rest: list[tuple[str, Rational]] = []
        factors: list[Polynomial] = []
        for atom, exponent in exponents.items():
            if exponent == 0:
                continue
            if atom[0] == "#":
                whole = math.floor(exponent)
                coefficient *= whole_power(int(atom[1:]), whole)
                if exponent != whole:
                    rest.append((atom, exponent - whole))
            elif atom == "@i":
                turns = int(exponent) % 4
                if turns in (2, 3):
                    coefficient = -coefficient
                if turns in (1, 3):
                    rest.append((atom, 1))
            elif atom[:2] == "@S" and exponent >= 2 and exponent == int(exponent):
                pairs, odd = divmod(int(exponent), 2)
                if pairs > 8:
                    raise NotNormal("a high power of a sine")
                square: Polynomial = {(): 1, (("@C" + atom[2:], 2),): -1}
                factors.extend([square] * pairs)
                if odd:
                    rest.append((atom, 1))
            elif atom[:2] == "@R" and exponent >= 1:
                whole = math.floor(exponent)
                factors.extend([self.sums[atom]] * min(whole, MAX_POWER))
                if exponent != whole:
                    rest.append((atom, exponent - whole))
            else:
                rest.append((atom, exponent))
        result: Polynomial = {tuple(sorted(rest)): coefficient}
        for factor in factors:
            result = self.times(result, factor)
        return result

    def add(self, left: Value, right: Value) -> Value:
        """The sum of two values."""
        if left.bottom == right.bottom:
            return self.quotient(self.plus(left.top, right.top), left.bottom)
        return self.quotient(
            self.plus(self.times(left.top, right.bottom), self.times(right.top, left.bottom)),
            self.times(left.bottom, right.bottom),
        )

    def multiply(self, left: Value, right: Value) -> Value:
        """The product of two values."""
        if left.bottom is ONE and right.bottom is ONE:
            return Value(self.times(left.top, right.top), ONE)
        return self.quotient(self.times(left.top, right.top), self.times(left.bottom, right.bottom))

    def scale(self, value: Value, factor: Rational) -> Value:
        """A rational multiple."""
        return Value({m: c * factor for m, c in value.top.items()}, value.bottom)

    def inverse(self, value: Value) -> Value:
        """The reciprocal. Raises Undefined for zero."""
        return self.quotient(value.bottom, value.top)

    def quotient(self, top: Polynomial, bottom: Polynomial) -> Value:
        """A value with its denominator in normal form. Raises Undefined for a zero one."""
        if not bottom:
            raise Undefined("a division by zero")
        if bottom is ONE:
            return Value(top, ONE)
        if len(bottom) == 1:
            ((monomial, coefficient),) = bottom.items()
            inverse = self.reduced({atom_: -exponent for atom_, exponent in monomial})
            factor = Fraction(1) / coefficient
            return Value(
                self.times(top, {m: integral(c * factor) for m, c in inverse.items()}), ONE
            )
        if top == bottom:
            return Value(ONE, ONE)
        # One leading coefficient, so that equal denominators look equal.
        lead = bottom[min(bottom)]
        if lead != 1:
            factor = Fraction(1) / lead
            bottom = {m: integral(c * factor) for m, c in bottom.items()}
            top = {m: integral(c * factor) for m, c in top.items()}
        return Value(top, bottom)

    def name(self, value: Value) -> str:
        """A canonical spelling, for atoms made of values."""
        if value.bottom is ONE:
            return serial(value.top)
        return f"{serial(value.top)}/{serial(value.bottom)}"


def atom(name: str) -> Value:
    """The value of a single atom."""
    return Value({((name, 1),): 1}, ONE)


def constant(number: Fraction) -> Value:
    """The value of a rational number."""
    return Value({(): integral(number)} if number else {}, ONE)


def serial(polynomial: Polynomial) -> str:
    """A canonical spelling of a polynomial."""
    terms = (
        _spelled(coefficient)
        + "".join(f"*{name}" if e == 1 else f"*{name}~{e}" for name, e in monomial)
        for monomial, coefficient in sorted(polynomial.items())
    )
    text = "+".join(terms)
    if len(text) > 20_000:
        raise NotNormal("too long")
    return f"({text})"


def _spelled(number: Rational) -> str:
    if isinstance(number, int):
        return hex(number)
    return f"{number.numerator:x}:{number.denominator:x}"


def content_of(polynomial: Polynomial) -> tuple[Fraction, Polynomial]:
    """The positive rational content and the primitive part."""
    numerators = math.gcd(*(Fraction(c).numerator for c in polynomial.values()))
    denominators = math.lcm(*(Fraction(c).denominator for c in polynomial.values()))
    content = Fraction(numerators, denominators)
    if content == 1:
        return content, polynomial
    return content, {m: integral(Fraction(c) / content) for m, c in polynomial.items()}


def integral(number: Rational) -> Rational:
    """A fraction with denominator one as an integer."""
    if isinstance(number, Fraction) and number.denominator == 1:
        return number.numerator
    return number


def whole_power(base: Rational, exponent: int) -> Rational:
    """A whole power of a rational. Raises NotNormal past the cap on size."""
    fraction = Fraction(base)
    size = max(abs(fraction.numerator).bit_length(), fraction.denominator.bit_length())
    if fraction in (1, -1):
        return 1 if fraction == 1 or exponent % 2 == 0 else -1
    if size * abs(exponent) > MAX_BITS:
        raise NotNormal("too large a number")
    return integral(fraction**exponent)


def _check_size(number: Rational) -> None:
    if isinstance(number, int):
        if number.bit_length() > 4 * MAX_BITS:
            raise NotNormal("too large a number")
    elif number.numerator.bit_length() + number.denominator.bit_length() > 4 * MAX_BITS:
        raise NotNormal("too large a number")
