"""An exact normal form for scalar expressions.

A value is a quotient of two polynomials with rational coefficients over *atoms*: variables, pi, i,
powers of e, roots of primes, roots of sums, logarithms of primes, sines and cosines of a
normal argument. Monomials may have negative and fractional exponents. Two values are equal where
cross products agree term by term, which needs no floating point: 2^-99 is not 2^-98.

Where all atoms are independent (variables, i, pi, e, roots of primes), unequal forms are unequal
values; with other atoms an unequal form proves nothing, and evaluation has to decide.

Roots and logarithms are those of positive reals: sqrt(xy) is sqrt(x) sqrt(y), but sqrt(x^2) is
|x|.
"""

from __future__ import annotations

import math
from fractions import Fraction

from verifiers.polynomials import (
    MAX_POWER,
    ONE,
    Algebra,
    NotNormal,
    Polynomial,
    Rational,
    Undefined,
    Value,
    atom,
    constant,
    content_of,
    integral,
    serial,
    whole_power,
)
from verifiers.syntax import (
    Add,
    Based,
    Const,
    Degree,
    Div,
    Func,
    Matrix,
    Mul,
    Neg,
    Node,
    Num,
    Percent,
    Pow,
    Quantity,
    Sym,
)


class Normalizer(Algebra):
    """Builds the values of expressions."""

    def value(self, node: Node) -> Value:
        """The normal form of a scalar expression. Raises NotNormal, or Undefined."""
        self.spend(1)
        if isinstance(node, Num):
            return constant(node.value)
        if isinstance(node, Sym):
            if node.name == "...":
                raise NotNormal("dots")
            return atom("v" + node.name)
        if isinstance(node, Neg):
            return self.scale(self.value(node.item), -1)
        if isinstance(node, Add):
            total = self.value(node.items[0])
            for item in node.items[1:]:
                total = self.add(total, self.value(item))
            return total
        if isinstance(node, Mul):
            product = self.value(node.items[0])
            for item in node.items[1:]:
                product = self.multiply(product, self.value(item))
            return product
        if isinstance(node, Div):
            return self.multiply(self.value(node.top), self.inverse(self.value(node.bottom)))
        if isinstance(node, Pow):
            return self.power(node.base, node.exponent)
        if isinstance(node, Const):
            if node.name == "i":
                return atom("@i")
            if node.name == "pi":
                return atom("pi")
            if node.name == "e":
                return atom("e")
            raise NotNormal(node.name)
        if isinstance(node, Func):
            from verifiers.functions import apply

            return apply(self, node)
        if isinstance(node, Degree):
            return self.multiply(
                self.value(node.value), Value({(("pi", 1),): Fraction(1, 180)}, ONE)
            )
        if isinstance(node, Percent):
            return self.scale(self.value(node.value), Fraction(1, 100))
        if isinstance(node, Based) and node.value is not None:
            return constant(node.value)
        if isinstance(node, Quantity | Matrix):
            raise NotNormal("not a plain scalar")
        raise NotNormal(type(node).__name__)

    def power(self, base_node: Node, exponent_node: Node) -> Value:
        """A power of any base and exponent."""
        exponent = self.value(exponent_node)
        rational = exponent.rational()
        if base_node == Const("e"):
            return self.exponential(exponent)
        base = self.value(base_node)
        if rational is not None:
            return self.rational_power(base, rational)
        number = base.rational()
        if number is not None and number > 0 and exponent.bottom is ONE:
            return self.number_power(number, exponent)
        if exponent.bottom is ONE and base.bottom is ONE and len(base.top) == 1:
            return self.monomial_power(base, exponent)
        self.independent = False
        return atom("^" + self.name(base) + "^" + self.name(exponent))

    def rational_power(self, base: Value, exponent: Fraction) -> Value:
        """A power with a rational exponent."""
        if exponent.denominator == 1:
            return self.integer_power(base, int(exponent))
        if not base.top:
            if exponent > 0:
                return base
            raise Undefined("a negative power of zero")
        root = self.root(base, exponent.denominator)
        return self.integer_power(root, exponent.numerator)

    def integer_power(self, base: Value, exponent: int) -> Value:
        """A whole power; 0^0 is undefined."""
        if exponent == 0:
            if not base.top:
                raise Undefined("zero to the power of zero")
            return Value(ONE, ONE)
        if exponent < 0:
            base, exponent = self.inverse(base), -exponent
        if len(base.top) <= 1 and base.bottom is ONE:
            if not base.top:
                return base
            ((monomial, coefficient),) = base.top.items()
            if exponent > 10**7 and coefficient not in (1, -1):
                raise NotNormal("too large a power")
            scalar = whole_power(coefficient, exponent)
            reduced = self.reduced({a: e * exponent for a, e in monomial})
            return Value({m: integral(c * scalar) for m, c in reduced.items()}, ONE)
        if exponent > MAX_POWER:
            raise NotNormal("too high a power of a sum")
        result = Value(ONE, ONE)
        square = base
        while exponent:
            if exponent & 1:
                result = self.multiply(result, square)
            exponent >>= 1
            if exponent:
                square = self.multiply(square, square)
        return result

    def root(self, base: Value, degree: int) -> Value:
        """The principal root of a positive value; the real root of a negative one if odd."""
        if degree > 1000:
            raise NotNormal("too high a root")
        if base.bottom is not ONE:
            return self.multiply(
                self.root(Value(base.top, ONE), degree),
                self.inverse(self.root(Value(base.bottom, ONE), degree)),
            )
        if not base.top:
            return base
        if len(base.top) == 1:
            ((monomial, coefficient),) = base.top.items()
            number = self.number_root(Fraction(coefficient), degree)
            exponents: dict[str, Rational] = {}
            for name, exponent in monomial:
                if name == "@i":
                    self.independent = False
                    exponents["@I"] = Fraction(1, degree)
                elif (
                    degree % 2 == 0
                    and exponent == int(exponent)
                    and exponent % 2 == 0
                    and (exponent // degree if exponent % degree == 0 else 1) % 2 == 1
                    and name[0] == "v"
                ):
                    exponents["|" + name] = Fraction(exponent, degree)
                else:
                    exponents[name] = integral(Fraction(exponent) / degree)
            return self.multiply(number, Value(self.reduced(exponents), ONE))
        if degree == 2:
            denested = self.denested(base.top)
            if denested is not None:
                return denested
        content, primitive = content_of(base.top)
        name = "@R" + serial(primitive)
        self.sums[name] = primitive
        self.independent = False
        return self.multiply(
            self.number_root(content, degree), Value({((name, Fraction(1, degree)),): 1}, ONE)
        )

    def denested(self, radicand: Polynomial) -> Value | None:
        """sqrt(a + b sqrt(r)) as a sum of two square roots, where a^2 - b^2 r is a square."""
        if len(radicand) != 2 or () not in radicand:
            return None
        ((monomial, b),) = ((m, c) for m, c in radicand.items() if m)
        if not all(name[0] == "#" and exponent == Fraction(1, 2) for name, exponent in monomial):
            return None
        a = Fraction(radicand[()])
        r = math.prod(int(name[1:]) for name, _ in monomial)
        norm = _square_root(a * a - Fraction(b) ** 2 * r)
        if norm is None or a <= 0:
            return None
        larger = self.number_root((a + norm) / 2, 2)
        smaller = self.number_root((a - norm) / 2, 2)
        return self.add(larger, smaller if b > 0 else self.scale(smaller, -1))

    def number_root(self, number: Fraction, degree: int) -> Value:
        """The root of a rational number, its prime factors drawn out."""
        if number < 0:
            positive = self.number_root(-number, degree)
            if degree % 2:
                return self.scale(positive, -1)
            if degree == 2:
                return self.multiply(positive, atom("@i"))
            raise NotNormal("an even root of a negative number")
        coefficient = Fraction(1)
        exponents: dict[str, Rational] = {}
        radicand = number.numerator * number.denominator ** (degree - 1)
        coefficient /= number.denominator
        for prime, count in self.factors(radicand):
            whole, part = divmod(count, degree)
            coefficient *= prime**whole
            if part:
                exponents[f"#{prime}"] = Fraction(part, degree)
        return Value({tuple(sorted(exponents.items())): integral(coefficient)}, ONE)

    def factors(self, number: int) -> list[tuple[int, int]]:
        """Prime factors with counts; a large cofactor is kept whole, and noted as dependent."""
        if number.bit_length() > 4_000:
            raise NotNormal("too large to factor")
        found: list[tuple[int, int]] = []
        for prime in _PRIMES:
            if prime * prime > number:
                break
            if number % prime == 0:
                count = 0
                while number % prime == 0:
                    number //= prime
                    count += 1
                found.append((prime, count))
        if number > 1:
            count = 1
            if number > _PRIMES[-1] ** 2:
                root = math.isqrt(number)
                if root * root == number:
                    number, count = root, 2
                self.independent = False
            found.append((number, count))
        return found

    def exponential(self, exponent: Value) -> Value:
        """e to a power, a product over the terms of the exponent."""
        if exponent.bottom is not ONE:
            self.independent = False
            return atom("^e^" + self.name(exponent))
        product = Value(ONE, ONE)
        for monomial, coefficient in exponent.top.items():
            if not monomial:
                factor = Value({(("e", integral(Fraction(coefficient))),): 1}, ONE)
            elif monomial == (("@i", 1), ("pi", 1)):
                from verifiers.functions import cosine, sine

                angle = Value({(("pi", 1),): coefficient}, ONE)
                factor = self.add(cosine(self, angle), self.multiply(sine(self, angle), atom("@i")))
            elif len(monomial) == 1 and monomial[0][0].startswith("@L") and monomial[0][1] == 1:
                # e^(q ln a) is a^q.
                inside = self.sums[monomial[0][0]]
                factor = self.rational_power(Value(inside, ONE), Fraction(coefficient))
            else:
                self.independent = False
                name = "^e^" + serial({monomial: 1})
                factor = Value({((name, integral(Fraction(coefficient))),): 1}, ONE)
            product = self.multiply(product, factor)
        return product

    def number_power(self, base: Fraction, exponent: Value) -> Value:
        """A positive rational to a variable power: one atom a prime and term."""
        product = Value(ONE, ONE)
        for sign, part in ((1, base.numerator), (-1, base.denominator)):
            for prime, count in self.factors(part) if part > 1 else []:
                for monomial, coefficient in exponent.top.items():
                    power = integral(Fraction(coefficient) * count * sign)
                    if not monomial:
                        factor = self.rational_power(constant(Fraction(prime)), Fraction(power))
                    else:
                        self.independent = False
                        name = f"^{prime}^{serial({monomial: 1})}"
                        factor = Value({((name, power),): 1}, ONE)
                    product = self.multiply(product, factor)
        return product

    def monomial_power(self, base: Value, exponent: Value) -> Value:
        """A product of atoms to a variable power."""
        ((monomial, coefficient),) = base.top.items()
        product = Value(ONE, ONE)
        if coefficient != 1:
            if coefficient < 0:
                raise NotNormal("a variable power of a negative number")
            product = self.number_power(Fraction(coefficient), exponent)
        for name, own in monomial:
            for other, scale in exponent.top.items():
                power = integral(Fraction(own) * Fraction(scale))
                if not other:
                    factor = Value(self.reduced({name: power}), ONE)
                else:
                    self.independent = False
                    factor = Value({((f"^{name}^{serial({other: 1})}", power),): 1}, ONE)
                product = self.multiply(product, factor)
        return product


def _square_root(number: Fraction) -> Fraction | None:
    if number < 0:
        return None
    top, bottom = math.isqrt(number.numerator), math.isqrt(number.denominator)
    exact = top * top == number.numerator and bottom * bottom == number.denominator
    return Fraction(top, bottom) if exact else None


def _primes_below(limit: int) -> tuple[int, ...]:
    sieve = bytearray([1]) * limit
    sieve[:2] = b"\0\0"
    for n in range(2, math.isqrt(limit) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return tuple(n for n in range(limit) if sieve[n])


_PRIMES = _primes_below(2_000)
