"""Normal forms of functions: exact values at special arguments, and canonical atoms elsewhere."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from verifiers.polynomials import (
    ONE,
    Monomial,
    NotNormal,
    Undefined,
    Value,
    atom,
    constant,
    content_of,
    serial,
)
from verifiers.syntax import Const, Func, Matrix, Node, Seq

if TYPE_CHECKING:
    from verifiers.normal import Normalizer

MAX_FACTORIAL = 3_000


def apply(normalizer: Normalizer, node: Func) -> Value:
    """The normal form of a function application. Raises NotNormal where there is none."""

    name = node.name
    if name == "det":
        return _determinant(normalizer, node.args[0])
    arguments: list[Value] = []
    for argument in node.args:
        if isinstance(argument, Seq) or argument == Const("oo"):
            raise NotNormal(name)
        arguments.append(normalizer.value(argument))
    if name == "root" and len(arguments) == 2:
        return _root(normalizer, arguments[0], arguments[1])
    if name in _INTEGER_FUNCTIONS:
        numbers = [argument.rational() for argument in arguments]
        if all(n is not None and n.denominator == 1 for n in numbers):
            return _integers(name, [int(n) for n in numbers if n is not None])
    if name in ("min", "max", "floor", "ceil", "sgn", "mod"):
        rationals = [argument.rational() for argument in arguments]
        if all(n is not None for n in rationals):
            return _rationals(name, [n for n in rationals if n is not None])
    if len(arguments) == 1 and name in _ONE_ARGUMENT:
        return _ONE_ARGUMENT[name](normalizer, arguments[0])
    if name == "log" and len(arguments) in (1, 2):
        top = logarithm(normalizer, arguments[0])
        base = arguments[1] if len(arguments) == 2 else constant(Fraction(10))
        return normalizer.multiply(top, normalizer.inverse(logarithm(normalizer, base)))
    normalizer.independent = False

    return atom(f"@F{name}[{';'.join(normalizer.name(a) for a in arguments)}]")


def _root(normalizer: Normalizer, radicand: Value, index: Value) -> Value:

    degree = index.rational()
    if degree is None or degree.denominator != 1 or degree == 0:
        raise NotNormal("a root of no whole degree")
    if degree < 0:
        raise Undefined("a root of negative degree")
    return normalizer.root(radicand, int(degree))


_INTEGER_FUNCTIONS = frozenset(["factorial", "factorial2", "binom", "gcd", "lcm"])


def _integers(name: str, numbers: list[int]) -> Value:

    if name == "gcd":
        return constant(Fraction(math.gcd(*numbers)))
    if name == "lcm":
        return constant(Fraction(math.lcm(*numbers)))
    if any(number < 0 for number in numbers[:1]):
        raise Undefined("a factorial of a negative number")
    if max(numbers) > MAX_FACTORIAL:
        raise NotNormal("too large a factorial")
    if name == "binom":
        if len(numbers) != 2:
            raise NotNormal("a binomial of other than two numbers")
        n, k = numbers
        return constant(Fraction(math.comb(n, k) if k >= 0 else 0))
    if name == "factorial2":
        return constant(Fraction(math.prod(range(numbers[0], 0, -2))))
    return constant(Fraction(_factorial(numbers[0])))


@functools.lru_cache(maxsize=256)
def _factorial(n: int) -> int:
    return math.factorial(n)


def _rationals(name: str, numbers: list[Fraction]) -> Value:

    if name in ("min", "max"):
        return constant(min(numbers) if name == "min" else max(numbers))
    if name == "mod":
        if len(numbers) != 2 or numbers[1] == 0:
            raise Undefined("a remainder by zero")
        return constant(numbers[0] % numbers[1])
    if len(numbers) != 1:
        raise NotNormal(name)
    number = numbers[0]
    if name == "floor":
        return constant(Fraction(math.floor(number)))
    if name == "ceil":
        return constant(Fraction(math.ceil(number)))
    return constant(Fraction((number > 0) - (number < 0)))


def _determinant(normalizer: Normalizer, node: Node) -> Value:

    if not isinstance(node, Matrix) or len(node.rows) != len(node.rows[0]) or len(node.rows) > 4:
        raise NotNormal("a determinant of no small square matrix")

    def expand(rows: list[list[Value]]) -> Value:
        if len(rows) == 1:
            return rows[0][0]
        total = constant(Fraction(0))
        for column, entry in enumerate(rows[0]):
            minor = [row[:column] + row[column + 1 :] for row in rows[1:]]
            part = normalizer.multiply(entry, expand(minor))
            total = normalizer.add(total, normalizer.scale(part, (-1) ** column))
        return total

    return expand([[normalizer.value(entry) for entry in row] for row in node.rows])


# Logarithms -----------------------------------------------------------------------------------


def logarithm(normalizer: Normalizer, argument: Value) -> Value:
    """The natural logarithm, a sum over the factors of a positive argument."""

    if argument.bottom is not ONE:
        return normalizer.add(
            logarithm(normalizer, Value(argument.top, ONE)),
            normalizer.scale(logarithm(normalizer, Value(argument.bottom, ONE)), -1),
        )
    if not argument.top:
        raise Undefined("the logarithm of zero")
    total: Value = constant(Fraction(0))
    if len(argument.top) > 1:
        number, primitive = content_of(argument.top)
        name = "@L" + serial(primitive)
        normalizer.sums[name] = primitive
        total = Value({((name, 1),): 1}, ONE)
        monomial: tuple[tuple[str, int | Fraction], ...] = ()
        normalizer.independent = False
    else:
        ((monomial, coefficient),) = argument.top.items()
        number = Fraction(coefficient)
    if number < 0:
        raise NotNormal("the logarithm of a negative number")
    for part, sign in ((number.numerator, 1), (number.denominator, -1)):
        for prime, count in normalizer.factors(part) if part > 1 else []:
            total = normalizer.add(
                total, normalizer.scale(_log_atom(normalizer, prime), sign * count)
            )
    for name, exponent in monomial:
        if name == "e":
            part_value = constant(Fraction(exponent))
        elif name[0] == "#":
            part_value = normalizer.scale(_log_atom(normalizer, int(name[1:])), exponent)
        elif name == "@i":
            raise NotNormal("the logarithm of an imaginary number")
        else:
            even = name[0] == "v" and exponent == int(exponent) and exponent % 2 == 0
            inner = ("|" + name) if even else name
            key = "@L" + inner
            normalizer.sums[key] = {((inner, 1),): 1}
            normalizer.independent = False
            part_value = Value({((key, 1),): exponent}, ONE)
        total = normalizer.add(total, part_value)
    return total


def _log_atom(normalizer: Normalizer, prime: int) -> Value:

    key = f"@L{prime}"
    normalizer.sums[key] = {(): prime}
    return Value({((key, 1),): 1}, ONE)


# Trigonometry ---------------------------------------------------------------------------------

_COSINES = {
    Fraction(0): "1",
    Fraction(1, 12): "(\\sqrt6+\\sqrt2)/4",
    Fraction(1, 10): "\\sqrt{10+2\\sqrt5}/4",
    Fraction(1, 8): "\\sqrt{2+\\sqrt2}/2",
    Fraction(1, 6): "\\sqrt3/2",
    Fraction(1, 5): "(1+\\sqrt5)/4",
    Fraction(1, 4): "\\sqrt2/2",
    Fraction(3, 10): "\\sqrt{10-2\\sqrt5}/4",
    Fraction(1, 3): "1/2",
    Fraction(3, 8): "\\sqrt{2-\\sqrt2}/2",
    Fraction(2, 5): "(\\sqrt5-1)/4",
    Fraction(5, 12): "(\\sqrt6-\\sqrt2)/4",
    Fraction(1, 2): "0",
}
"""cos(q pi) for 0 <= q <= 1/2."""


def cosine(normalizer: Normalizer, angle: Value) -> Value:
    """cos: exact at the angles above, else an atom; cos(-x) is cos(x)."""
    turn = _turn(angle)
    if turn is not None:
        q = turn % 2
        if q > 1:
            q = 2 - q
        sign = 1
        if q > Fraction(1, 2):
            q, sign = 1 - q, -1
        if q in _COSINES:
            from verifiers.parser import parse

            return normalizer.scale(normalizer.value(parse(_COSINES[q])), sign)
        normalizer.independent = False
        return normalizer.scale(_trig_atom(normalizer, "@C", _pi_times(q)), sign)
    normalizer.independent = False
    return _trig_atom(normalizer, "@C", _positive(normalizer, angle)[0])


def sine(normalizer: Normalizer, angle: Value) -> Value:
    """sin(x), as cos(pi/2 - x) at multiples of pi; sin(-x) is -sin(x)."""
    turn = _turn(angle)
    if turn is not None:
        return cosine(normalizer, _pi_times(Fraction(1, 2) - turn))
    normalizer.independent = False
    positive, sign = _positive(normalizer, angle)
    return normalizer.scale(_trig_atom(normalizer, "@S", positive), sign)


def _trig_atom(normalizer: Normalizer, kind: str, angle: Value) -> Value:

    return atom(kind + normalizer.name(angle))


def _pi_times(q: Fraction) -> Value:

    return Value({(("pi", 1),): q} if q else {}, ONE)


def _turn(angle: Value) -> Fraction | None:
    """q where the angle is q pi."""

    if angle.bottom is not ONE:
        return None
    if not angle.top:
        return Fraction(0)
    if len(angle.top) == 1 and (("pi", 1),) in angle.top:
        return Fraction(angle.top[(("pi", 1),)])
    return None


def _positive(normalizer: Normalizer, angle: Value) -> tuple[Value, int]:
    """The angle or its negative, whichever leads with a positive coefficient, and the sign."""
    lead = angle.top[min(angle.top)]
    return (angle, 1) if lead > 0 else (normalizer.scale(angle, -1), -1)


def _tangent(normalizer: Normalizer, angle: Value) -> Value:
    return normalizer.multiply(
        sine(normalizer, angle), normalizer.inverse(cosine(normalizer, angle))
    )


def _absolute(normalizer: Normalizer, argument: Value) -> Value:

    number = argument.rational()
    if number is not None:
        return constant(abs(number))
    if argument.bottom is ONE and len(argument.top) == 1:
        ((monomial, coefficient),) = argument.top.items()
        exponents: dict[str, int | Fraction] = {}
        for name, exponent in monomial:
            if name == "@i":
                continue
            variable = name[0] == "v" and exponent == int(exponent) and exponent % 2
            exponents["|" + name if variable else name] = exponent
        if all(name[0] in "#|v" or name in ("pi", "e") for name in exponents):
            bare: Monomial = tuple(sorted(exponents.items()))
            return Value({bare: coefficient if coefficient > 0 else -coefficient}, ONE)
    if argument.bottom is not ONE:
        return normalizer.multiply(
            _absolute(normalizer, Value(argument.top, ONE)),
            normalizer.inverse(_absolute(normalizer, Value(argument.bottom, ONE))),
        )
    if not argument.top:
        raise NotNormal("abs")
    normalizer.independent = False
    positive, _ = _positive(normalizer, argument)
    return atom("@A" + normalizer.name(positive))


_ARCSINES = {
    "0": Fraction(0),
    "1/2": Fraction(1, 6),
    "\\sqrt2/2": Fraction(1, 4),
    "\\sqrt3/2": Fraction(1, 3),
    "1": Fraction(1, 2),
}
_ARCTANGENTS = {
    "0": Fraction(0),
    "\\sqrt3/3": Fraction(1, 6),
    "1": Fraction(1, 4),
    "\\sqrt3": Fraction(1, 3),
}


def _inverse(kind: str, table: dict[str, Fraction]) -> Callable[[Normalizer, Value], Value]:
    def inverse(normalizer: Normalizer, argument: Value) -> Value:
        from verifiers.parser import parse

        positive, sign = argument, 1
        if argument.top:
            positive, sign = _positive(normalizer, argument)
        angles = [q for text, q in table.items() if normalizer.value(parse(text)) == positive]
        if angles:
            q = angles[0] * sign
            return _pi_times(Fraction(1, 2) - q if kind == "acos" else q)
        normalizer.independent = False
        if kind == "acos":
            return atom("@Facos[" + normalizer.name(argument) + "]")
        return normalizer.scale(atom(f"@F{kind}[" + normalizer.name(positive) + "]"), sign)

    return inverse


def _square_root(normalizer: Normalizer, argument: Value) -> Value:
    return normalizer.root(argument, 2)


def _reciprocal(
    function: Callable[[Normalizer, Value], Value],
) -> Callable[[Normalizer, Value], Value]:
    return lambda normalizer, angle: normalizer.inverse(function(normalizer, angle))


_ONE_ARGUMENT: dict[str, Callable[[Normalizer, Value], Value]] = {
    "sin": sine,
    "cos": cosine,
    "tan": _tangent,
    "sec": _reciprocal(cosine),
    "csc": _reciprocal(sine),
    "cot": lambda n, x: n.multiply(cosine(n, x), n.inverse(sine(n, x))),
    "abs": _absolute,
    "ln": logarithm,
    "asin": _inverse("asin", _ARCSINES),
    "acos": _inverse("acos", _ARCSINES),
    "atan": _inverse("atan", _ARCTANGENTS),
    "cis": lambda n, x: n.add(cosine(n, x), n.multiply(sine(n, x), n.value(Const("i")))),
}
