"""The expensive comparison: sympy, for the pairs that the cheap stages leave open.

It is run in a worker process that is killed at a deadline. Expressions are built from our own
syntax, node by node; no text reaches sympy's parser, and nothing is evaluated as code. Exact
comparison comes first, evaluation at raised precision next, `simplify` last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy
from sympy.core.evalf import PrecisionExhausted

from verifiers.comparing import Verdict3
from verifiers.policy import Policy
from verifiers.reading import read, read_gold
from verifiers.sampling import MAX_FACTORS
from verifiers.structure import Comparison
from verifiers.syntax import (
    Add,
    Based,
    Big,
    Builder,
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
    Relation,
    Seq,
    SetOf,
    Sym,
)
from verifiers.vocabulary import INVERSE, TRIGONOMETRIC

MAX_EXPONENT = 100_000
_DIGITS = 60
_QUADRATURE_DIGITS = (20, 40)


class NotSymbolic(Exception):
    """A node that has no sympy counterpart here."""


def compare_symbolic(candidate: str, gold: str, policy: Policy) -> bool:
    """Whether two answers are equal. What sympy cannot decide counts as different.

    Raises ParseError for a candidate that cannot be read.
    """
    return SymbolicComparison(policy).same(read(candidate), read_gold(gold)) is True


class SymbolicComparison(Comparison):
    """The structural comparison, with sympy where that one gives up."""

    def same_scalar(self, c: Node, g: Node) -> Verdict3:
        """Scalars: the cheap verdict, else sympy's."""
        verdict = super().same_scalar(c, g)
        if verdict is not None:
            return verdict
        try:
            return equal(expression(c), expression(g))
        except (NotSymbolic, ArithmeticError, ValueError, TypeError, NotImplementedError):
            return None

    def same_sets(self, c: Node, g: Node) -> Verdict3:
        """Sets of reals: the cheap verdict, else sympy's solution sets."""
        verdict = super().same_sets(c, g)
        if verdict is not None:
            return verdict
        try:
            left, right = real_subset(c), real_subset(g)
        except (NotSymbolic, ArithmeticError, ValueError, TypeError, NotImplementedError):
            return None
        if left == right:
            return True
        difference = left.symmetric_difference(right)
        return bool(difference.is_empty) if difference.is_empty is not None else None


def equal(left: Any, right: Any) -> bool | None:
    """Whether two sympy expressions are equal; None where sympy cannot tell."""
    if not (left - right).free_symbols and (left - right).has(sympy.Integral):
        decided = _by_quadrature(left, right)
        if decided is not None:
            return decided
    left, right = left.doit(), right.doit()
    difference = left - right
    if difference == 0:
        return True
    if difference.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        return False
    if not difference.free_symbols:
        value = difference.evalf(_DIGITS, maxn=400)
        if value.is_number and value.is_finite and abs(value) > sympy.Float(10) ** -40:
            return False
    decided = difference.equals(0)
    if decided is not None:
        return bool(decided)
    return True if sympy.simplify(difference) == 0 else None


def _by_quadrature(left: Any, right: Any) -> bool | None:
    """Integrals by their values: milliseconds where an antiderivative can take seconds.

    Two values do not agree in so many digits by chance. They differ where two precisions agree on
    how much: a quadrature that does not converge decides nothing.
    """
    errors = []
    for digits in _QUADRATURE_DIGITS:
        # Each side by itself: evaluating a difference of zero raises the precision in vain.
        try:
            values = [side.evalf(digits, strict=True) for side in (left, right)]
        except PrecisionExhausted:
            return None
        if not all(value.is_Number and value.is_finite for value in values):
            return None
        errors.append(abs(values[0] - values[1]))
    low, high = errors
    if high <= abs(values[1]) * sympy.Float(10) ** (5 - digits):
        return True
    return False if high > 1e-3 and abs(low - high) <= 1e-3 * high else None


_CONSTANTS = {
    "pi": sympy.pi,
    "e": sympy.E,
    "i": sympy.I,
    "oo": sympy.oo,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(sympy, name)
    for name in [
        *TRIGONOMETRIC,
        *INVERSE,
        "factorial",
        "factorial2",
        "binomial",
        "gcd",
        "lcm",
        "zeta",
        "gamma",
    ]
} | {
    "abs": sympy.Abs,
    "ln": sympy.log,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "binom": sympy.binomial,
    "min": sympy.Min,
    "max": sympy.Max,
    "mod": sympy.Mod,
    "sgn": sympy.sign,
    "Re": sympy.re,
    "Im": sympy.im,
    "arg": sympy.arg,
}


def expression(node: Node) -> Any:
    """The sympy expression of a scalar. Raises NotSymbolic where there is none."""
    if isinstance(node, Num):
        return sympy.Rational(node.value.numerator, node.value.denominator)
    if isinstance(node, Sym):
        return sympy.Symbol(node.name, real=True)
    if isinstance(node, Const) and node.name in _CONSTANTS:
        return _CONSTANTS[node.name]
    if isinstance(node, Neg):
        return -expression(node.item)
    if isinstance(node, Add):
        return sympy.Add(*(expression(item) for item in node.items))
    if isinstance(node, Mul):
        return sympy.Mul(*(expression(item) for item in node.items))
    if isinstance(node, Div):
        return expression(node.top) / expression(node.bottom)
    if isinstance(node, Pow):
        base, exponent = expression(node.base), expression(node.exponent)
        if exponent.is_number and abs(exponent) > MAX_EXPONENT:
            raise NotSymbolic("too large an exponent")
        return sympy.Pow(base, exponent)
    if isinstance(node, Percent):
        return expression(node.value) / 100
    if isinstance(node, Degree):
        return expression(node.value) * sympy.pi / 180
    if isinstance(node, Based) and node.value is not None:
        return sympy.Integer(int(node.value))
    if isinstance(node, Func):
        return _function(node)
    if isinstance(node, Big):
        return _big(node)
    raise NotSymbolic(type(node).__name__)


def _function(node: Func) -> Any:
    arguments = [expression(argument) for argument in node.args]
    if node.name == "root" and len(arguments) == 2:
        radicand, degree = arguments
        if radicand.is_negative and degree.is_odd:
            return -sympy.root(-radicand, degree)
        return sympy.root(radicand, degree)
    if node.name == "log":
        base = arguments[1] if len(arguments) == 2 else sympy.Integer(10)
        return sympy.log(arguments[0]) / sympy.log(base)
    if node.name in ("factorial", "factorial2", "binom") and any(
        argument.is_number and abs(argument) > MAX_EXPONENT for argument in arguments
    ):
        raise NotSymbolic("too large a factorial")
    if node.name in _FUNCTIONS:
        return _FUNCTIONS[node.name](*arguments)
    raise NotSymbolic(node.name)


def _big(node: Big) -> Any:
    variable = sympy.Symbol(node.variable or "x", real=True)
    body = expression(node.body)
    if node.name == "lim":
        if node.low is None:
            raise NotSymbolic("a limit to nowhere")
        return sympy.Limit(body, variable, expression(node.low))
    if node.name == "int":
        if node.low is None or node.high is None:
            return sympy.Integral(body, variable)
        return sympy.Integral(body, (variable, expression(node.low), expression(node.high)))
    if node.name in ("sum", "prod") and node.low is not None and node.high is not None:
        low, high = expression(node.low), expression(node.high)
        if node.name == "prod" and (high - low).is_number and abs(high - low) > MAX_FACTORS:
            raise NotSymbolic("too long a product")
        index = sympy.Symbol(node.variable, integer=True)
        make = sympy.Sum if node.name == "sum" else sympy.Product
        return make(body.subs(variable, index), (index, low, high))
    raise NotSymbolic(node.name)


_RELATIONS = {
    "<": sympy.Lt,
    ">": sympy.Gt,
    "<=": sympy.Le,
    ">=": sympy.Ge,
    "!=": sympy.Ne,
    "=": sympy.Eq,
}


def real_subset(node: Node) -> Any:
    """The sympy set of reals that a node denotes. Raises NotSymbolic where there is none."""
    if isinstance(node, Const) and node.name in ("R", "empty"):
        return sympy.S.Reals if node.name == "R" else sympy.S.EmptySet
    if isinstance(node, SetOf):
        left, right = real_subset(node.left), real_subset(node.right)
        if node.operator == "cup":
            return left.union(right)
        return left.intersect(right) if node.operator == "cap" else left - right
    if isinstance(node, Builder):
        return real_subset(node.condition)
    if isinstance(node, Seq):
        return _sequence(node)
    if isinstance(node, Relation):
        if node.operators in (("in",), ("notin",)):
            inside = real_subset(node.sides[1])
            return inside if node.operators == ("in",) else sympy.S.Reals - inside
        result = sympy.S.Reals
        for operator, left, right in zip(
            node.operators, node.sides[:-1], node.sides[1:], strict=True
        ):
            if operator not in _RELATIONS:
                raise NotSymbolic(operator)
            relation = _RELATIONS[operator](expression(left), expression(right))
            result = result.intersect(_solutions(relation))
        return result
    raise NotSymbolic(type(node).__name__)


def _solutions(relation: Any) -> Any:
    if relation in (sympy.true, sympy.false):
        return sympy.S.Reals if relation == sympy.true else sympy.S.EmptySet
    symbols = relation.free_symbols
    if len(symbols) != 1:
        raise NotSymbolic("an inequality in several unknowns")
    (symbol,) = symbols
    if isinstance(relation, sympy.Eq | sympy.Ne):
        roots = sympy.solveset(relation.lhs - relation.rhs, symbol, sympy.S.Reals)
        return roots if isinstance(relation, sympy.Eq) else sympy.S.Reals - roots
    return sympy.solve_univariate_inequality(relation, symbol, relational=False)


def _sequence(node: Seq) -> Any:
    if node.left == "set":
        return sympy.FiniteSet(*(expression(item) for item in node.items))
    if node.left == "" and all(isinstance(item, Relation) for item in node.items):
        sets = [real_subset(item) for item in node.items]
        if node.joint == "or":
            return sympy.Union(*sets)
        return sympy.Intersection(*sets)
    if len(node.items) == 2 and node.left in ("(", "[", "]"):
        low, high = (expression(item) for item in node.items)
        left_open, right_open = node.left != "[", node.right != "]"
        if (low.is_infinite and not left_open) or (high.is_infinite and not right_open):
            raise NotSymbolic("a closed end at infinity")
        return sympy.Interval(low, high, left_open, right_open)
    raise NotSymbolic("no set")
