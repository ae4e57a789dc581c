"""Deciding by evaluation at raised precision, where the normal form proves nothing.

Both sides are evaluated with mpmath at two precisions. They differ where both precisions agree on
a difference; they are equal where they agree to nearly all digits of the higher one. Nothing in
between is decided. Expressions with variables are evaluated at fixed generic points: positive ones
first, then of both signs, then complex ones; a point outside a side's real domain is no evidence.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from verifiers.syntax import (
    Add,
    Based,
    Big,
    Const,
    Degree,
    Div,
    Func,
    Mul,
    Neg,
    Node,
    Num,
    Percent,
    Pow,
    Sym,
)
from verifiers.trees import size, variables, walk
from verifiers.vocabulary import INVERSE, TRIGONOMETRIC

LOW, HIGH, HIGHEST = 30, 70, 160
MAX_MAGNITUDE = 200_000
"""Largest binary exponent of an intermediate value."""


class NoValue(Exception):
    """The expression has no finite value at the point, or is not evaluated here."""


_local = threading.local()


def _context() -> Any:
    """A multiprecision context of this thread's own: a context's precision is its state."""
    if not hasattr(_local, "context"):
        import mpmath

        _local.context = mpmath.MPContext()
    return _local.context


MAX_NODES = 600

# Coordinates of generic points: transcendental-looking, of moderate size, all different.
_POSITIVE = ("1.3717421124828532", "0.6180469715469277", "2.2360887564122987", "7.1803398874989")
_SIGNED = ("-0.7319281736451827", "-1.8273645546372819")


def agree(left: Node, right: Node) -> bool | None:
    """Whether two scalar expressions have the same values; None where evaluation cannot tell."""
    if size(left) + size(right) > MAX_NODES:
        return None
    names = sorted(variables(left) | variables(right))
    if len(names) > 12:
        return None
    if not names:
        return _agree_at(left, right, {}, (False, False), constant=True)
    seen = 0
    real = _is_to_be_real(left), _is_to_be_real(right)
    for number, start in enumerate((*_POSITIVE, *_SIGNED)):
        verdict = _agree_at(left, right, _point(names, start, number), real)
        if verdict is False:
            return False
        seen += verdict is True
    if seen >= 2:
        return True
    complex_seen = different = 0
    for number, start in enumerate(_POSITIVE):
        point = _point(names, start, number)
        context = _context()
        point = {n: context.mpc(v, v * 0.37 + 0.11) for n, v in point.items()}
        verdict = _agree_at(left, right, point, (False, False))
        different += verdict is False
        complex_seen += verdict is True
    if different and not complex_seen and not seen:
        return False
    return True if complex_seen >= 2 and not different else None


def _is_to_be_real(side: Node) -> bool:
    """Whether a side that is not real at a real point is outside its domain there."""
    imaginary = any(
        i == Const("i") or (isinstance(i, Func) and i.name == "cis") for i in walk(side)
    )
    return bool(variables(side)) and not imaginary


def _point(names: list[str], start: str, number: int) -> dict[str, Any]:
    context = _context()
    with context.workdps(HIGHEST):
        base = context.mpf(start)
        step = context.mpf("0.2871193745182736451") * (1 if number % 2 else -1)
        return {name: base + step * i + base * i * i / 17 for i, name in enumerate(names)}


def _agree_at(
    left: Node,
    right: Node,
    point: Mapping[str, Any],
    real: tuple[bool, bool],
    *,
    constant: bool = False,
) -> bool | None:
    """Whether both sides agree at a point; a side that is to be real has to be."""
    try:
        low = _difference(left, right, point, LOW, real)
        if low[1] > 1e-20:
            high = _difference(left, right, point, HIGH, real)
            close = abs(high[1] - low[1]) <= 1e-3 * high[1]
            return False if close else None
        digits = HIGHEST if constant else HIGH
        high = _difference(left, right, point, digits, real)
        context = _context()
        if high[1] < context.mpf(10) ** -(digits - 20):
            return True
        # Close, but not equal: the difference has to persist at a higher precision.
        highest = _difference(left, right, point, digits + 60, real)
        if abs(highest[1] - high[1]) <= 1e-3 * highest[1]:
            return False
    except (NoValue, ArithmeticError, ValueError, TypeError):
        return None
    return None


def _difference(
    left: Node, right: Node, point: Mapping[str, Any], digits: int, real: tuple[bool, bool]
) -> tuple[int, Any]:
    """The digits used, and the difference of two values in units of the larger."""
    context = _context()
    with context.workdps(digits):
        a = evaluate(left, point, context)
        b = evaluate(right, point, context)
        for value, is_real in ((a, real[0]), (b, real[1])):
            if is_real and abs(context.im(value)) > 1e-10 * abs(value):
                raise NoValue("outside the real domain")
        scale = max(abs(a), abs(b))
        if scale == 0:
            return digits, context.mpf(0)
        return digits, abs(a - b) / scale


def approximate(node: Node, digits: int = 20) -> Any:
    """The value of a constant expression. Raises NoValue where there is none."""
    context = _context()
    try:
        with context.workdps(digits):
            return evaluate(node, {}, context)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise NoValue(str(error)) from error


def evaluate(node: Node, point: Mapping[str, Any], context: Any) -> Any:
    """The value of a scalar expression at a point, in the context's precision."""
    value = _evaluate(node, point, context)
    if not context.isfinite(value):
        raise NoValue("not finite")
    if context.mag(value) > MAX_MAGNITUDE:
        raise NoValue("too large")
    return value


def _evaluate(node: Node, point: Mapping[str, Any], context: Any) -> Any:
    if isinstance(node, Num):
        return context.mpf(node.value.numerator) / node.value.denominator
    if isinstance(node, Sym):
        if node.name not in point:
            raise NoValue(node.name)
        return point[node.name]
    if isinstance(node, Const):
        if node.name in ("pi", "e"):
            return +getattr(context, node.name)
        if node.name == "i":
            return context.mpc(0, 1)
        raise NoValue(node.name)
    if isinstance(node, Neg):
        return -evaluate(node.item, point, context)
    if isinstance(node, Add):
        return sum((evaluate(item, point, context) for item in node.items), context.mpf(0))
    if isinstance(node, Mul):
        product = context.mpf(1)
        for item in node.items:
            product *= evaluate(item, point, context)
        return product
    if isinstance(node, Div):
        bottom = evaluate(node.bottom, point, context)
        if bottom == 0:
            raise NoValue("a division by zero")
        return evaluate(node.top, point, context) / bottom
    if isinstance(node, Pow):
        return _power(
            evaluate(node.base, point, context), evaluate(node.exponent, point, context), context
        )
    if isinstance(node, Percent):
        return evaluate(node.value, point, context) / 100
    if isinstance(node, Degree):
        return evaluate(node.value, point, context) * context.pi / 180
    if isinstance(node, Based) and node.value is not None:
        return context.mpf(int(node.value))
    if isinstance(node, Func):
        arguments = [evaluate(argument, point, context) for argument in node.args]
        return _function(node.name, arguments, context)
    if isinstance(node, Big):
        return _series(node, point, context)
    raise NoValue(type(node).__name__)


def _power(base: Any, exponent: Any, context: Any) -> Any:
    if base == 0:
        if context.re(exponent) <= 0:
            raise NoValue("zero to no positive power")
        return context.mpf(0)
    if context.mag(exponent) + max(1, abs(context.mag(base))).bit_length() > 18:
        raise NoValue("too large a power")
    if context.im(base) == 0 and context.re(base) < 0 and context.im(exponent) == 0:
        # The real root of a negative base, where the exponent's denominator is odd.
        for denominator in (3, 5, 7):
            numerator = exponent * denominator
            nearest = context.nint(numerator)
            if exponent != context.nint(exponent) and abs(numerator - nearest) < 1e-25:
                sign = -1 if int(nearest) % 2 else 1
                return sign * context.power(-base, exponent)
    return context.power(base, exponent)


def _function(name: str, arguments: list[Any], context: Any) -> Any:
    if any(context.mag(a) > 2_000 for a in arguments if a != 0) and name != "root":
        raise NoValue("too large an argument")
    if len(arguments) == 1:
        (x,) = arguments
        if name in _DIRECT:
            return getattr(context, name)(x)
        if name in ("ln", "log"):
            if x == 0 or (context.im(x) == 0 and context.re(x) < 0):
                raise NoValue("a logarithm outside its domain")
            return context.ln(x) if name == "ln" else context.ln(x) / context.ln(10)
        if name == "abs":
            return abs(x)
        if name in ("zeta", "gamma") and context.im(x) == 0 and 1 < x < 200:
            return context.zeta(x) if name == "zeta" else context.gamma(x)
        if name == "factorial":
            if context.mag(x) > 14:
                raise NoValue("too large a factorial")
            return context.gamma(x + 1)
        if name in ("floor", "ceil"):
            if context.im(x) != 0 or abs(x - context.nint(x)) < 1e-15:
                raise NoValue("a step at its edge")
            return context.floor(x) if name == "floor" else context.ceil(x)
        if name == "cis":
            return context.cos(x) + context.mpc(0, 1) * context.sin(x)
    if len(arguments) == 2:
        x, y = arguments
        if name == "log":
            if x == 0 or y in (0, 1) or context.re(x) < 0 or context.re(y) < 0:
                raise NoValue("a logarithm outside its domain")
            return context.ln(x) / context.ln(y)
        if name == "root":
            if y == 0:
                raise NoValue("a root of degree zero")
            return _power(x, 1 / y, context)
        if name == "binom" and context.mag(x) < 14 and context.mag(y) < 14:
            return context.binomial(x, y)
    raise NoValue(name)


_DIRECT = frozenset([*TRIGONOMETRIC, *INVERSE])
MAX_SERIES = 2_000


def _series(node: Big, point: Mapping[str, Any], context: Any) -> Any:
    """A finite sum or product, term by term."""
    if node.name not in ("sum", "prod") or node.low is None or node.high is None:
        raise NoValue(node.name)
    low, high = evaluate(node.low, point, context), evaluate(node.high, point, context)
    if low != context.nint(low) or high != context.nint(high) or high - low > MAX_SERIES:
        raise NoValue("a series without a few whole steps")
    total = context.mpf(0 if node.name == "sum" else 1)
    for step in range(int(low), int(high) + 1):
        term = evaluate(node.body, {**point, node.variable: context.mpf(step)}, context)
        total = total + term if node.name == "sum" else total * term
    return total


def real(number: int) -> Any:
    """An integer as a high-precision real."""
    context = _context()
    with context.workdps(HIGHEST):
        return context.mpf(number)


def proportional(left: Node, right: Node, *, positive: bool) -> bool | None:
    """Whether two expressions are constant multiples of each other (positive ones if asked)."""
    names = sorted(variables(left) | variables(right))
    if not names or len(names) > 12:
        return None
    context = _context()
    ratios: list[Any] = []
    for number, start in enumerate((*_POSITIVE, *_SIGNED)):
        try:
            with context.workdps(HIGH):
                point = _point(names, start, number)
                a, b = evaluate(left, point, context), evaluate(right, point, context)
                if context.im(a) or context.im(b) or a == 0 or b == 0:
                    continue
                ratios.append(a / b)
        except (NoValue, ArithmeticError, ValueError, TypeError):
            continue
    if len(ratios) < 2:
        return None
    with context.workdps(HIGH):
        first = ratios[0]
        if any(abs(ratio - first) > abs(first) * context.mpf(10) ** -20 for ratio in ratios):
            return False
        return bool(first > 0) or not positive


def beyond_reach(node: Node) -> bool:
    """Whether an expression holds a power or factorial that no stage would work out.

    What cannot be worked out is not accepted, so a worker need not be asked.
    """
    for item in walk(node):
        if isinstance(item, Big) and item.name == "prod":
            if _is_long(item):
                return True
            continue
        if isinstance(item, Pow):
            size_of = item.exponent
        elif isinstance(item, Func) and item.name in ("factorial", "factorial2", "binom"):
            size_of = item.args[0]
        else:
            continue
        if variables(size_of):
            continue
        try:
            if abs(approximate(size_of, 15)) > LARGEST_EXPONENT:
                return True
        except NoValue:
            return True
    return False


def _is_long(product: Big) -> bool:
    """Whether a product has more factors than are ever multiplied out."""
    if product.low is None or product.high is None:
        return False
    try:
        return bool(abs(approximate(product.high) - approximate(product.low)) > MAX_FACTORS)
    except NoValue:
        return False


MAX_FACTORS = 10_000
LARGEST_EXPONENT = 100_000
