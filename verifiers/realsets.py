"""Subsets of the real line: intervals, points and what set operations make of them.

A set is its sorted cuts, and for every cut and every gap between cuts whether it belongs. That
one form makes `[0,1] cup [1,2]` and `[0,2]` the same record, and all set operations one loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from verifiers import sampling
from verifiers.syntax import (
    Add,
    Builder,
    Const,
    Div,
    Func,
    Mul,
    Neg,
    Node,
    Num,
    Relation,
    Seq,
    SetOf,
    Sym,
)
from verifiers.trees import variables

INFINITY = Const("oo")
_ZERO = Num(Fraction(0))


class NotReal(Exception):
    """The node is no subset of the reals that this module can build."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A point of the real line: its exact expression, and where it lies."""

    node: Node
    position: float


@dataclass(frozen=True, slots=True)
class RealSet:
    """`gaps[i]` is the open interval left of `cuts[i]`; `gaps[-1]` is right of the last cut."""

    cuts: tuple[Cut, ...]
    points: tuple[bool, ...]
    gaps: tuple[bool, ...]
    variable: str = ""


def build(
    cuts: list[Cut], point_in: Callable[[int], bool], gap_in: Callable[[int], bool], variable: str
) -> RealSet:
    """A set from membership of cuts and gaps, without the cuts that separate nothing."""
    kept: list[Cut] = []
    points: list[bool] = []
    gaps = [gap_in(0)]
    for i, cut in enumerate(cuts):
        inside, after = point_in(i), gap_in(i + 1)
        if inside == after == gaps[-1]:
            continue
        kept.append(cut)
        points.append(inside)
        gaps.append(after)
    return RealSet(tuple(kept), tuple(points), tuple(gaps), variable)


def combine(operator: str, left: RealSet, right: RealSet) -> RealSet:
    """Union (`cup`), intersection (`cap`) or difference (`minus`)."""
    rule: Callable[[bool, bool], bool] = {
        "cup": lambda a, b: a or b,
        "cap": lambda a, b: a and b,
        "minus": lambda a, b: a and not b,
    }[operator]
    cuts = sorted((*left.cuts, *right.cuts), key=lambda cut: cut.position)
    distinct: list[Cut] = []
    for cut in cuts:
        if not distinct or not _same_place(distinct[-1].position, cut.position):
            distinct.append(cut)
    between = _between(distinct)
    return build(
        distinct,
        lambda i: rule(_holds(left, distinct[i].position), _holds(right, distinct[i].position)),
        lambda i: rule(_holds(left, between[i]), _holds(right, between[i])),
        left.variable or right.variable,
    )


def _same_place(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-12 * max(abs(a), abs(b))


def _between(cuts: list[Cut]) -> list[float]:
    if not cuts:
        return [0.0]
    places = [cut.position for cut in cuts]
    inner = [(a + b) / 2 for a, b in pairwise(places)]
    return [places[0] - abs(places[0]) - 1, *inner, places[-1] + abs(places[-1]) + 1]


def _holds(subset: RealSet, place: float) -> bool:
    for i, cut in enumerate(subset.cuts):
        if _same_place(cut.position, place):
            return subset.points[i]
        if place < cut.position:
            return subset.gaps[i]
    return subset.gaps[-1]


EMPTY = RealSet((), (), (False,))
LINE = RealSet((), (), (True,))


def real_set(node: Node) -> RealSet:
    """The subset of the reals that a node denotes. Raises NotReal where there is none."""
    if isinstance(node, Const):
        if node.name == "R":
            return LINE
        if node.name == "empty":
            return EMPTY
    if isinstance(node, Seq):
        if node.left == "set":
            return _points(node.items)
        if node.left == "":
            return _listed(node)
        if len(node.items) == 2 and node.left in ("(", "[", "]") and node.right in (")", "]", "["):
            return _interval(node)
    if isinstance(node, SetOf):
        return combine(node.operator, real_set(node.left), real_set(node.right))
    if isinstance(node, Builder):
        condition = real_set(node.condition)
        inside = node.variable
        if isinstance(inside, Relation) and inside.operators == ("in",):
            inside = inside.sides[0]
        if not isinstance(inside, Sym) or inside.name != condition.variable:
            raise NotReal
        return RealSet(condition.cuts, condition.points, condition.gaps)
    if isinstance(node, Relation):
        return _relation(node)
    raise NotReal


def _cut(node: Node) -> Cut:
    if isinstance(node, Num):
        return Cut(node, float(node.value))
    try:
        place = sampling.approximate(node)
    except sampling.NoValue as error:
        raise NotReal from error
    if abs(place.imag) > 1e-15:
        raise NotReal
    return Cut(node, float(place.real))


def _points(items: tuple[Node, ...]) -> RealSet:
    if len(items) > 100:
        raise NotReal
    result = EMPTY
    for item in items:
        result = combine("cup", result, _point(item))
    return result


def _point(node: Node) -> RealSet:
    return RealSet((_cut(node),), (True,), (False, False))


def _interval(node: Seq) -> RealSet:
    left_open, right_open = node.left in ("(", "]"), node.right in (")", "[")
    low, high = node.items
    cuts: list[Cut] = []
    flags: list[bool] = []
    gaps: list[bool] = [False]
    if low == Neg(INFINITY):
        if not left_open:
            raise NotReal
        gaps = [True]
    else:
        cuts.append(_cut(low))
        flags.append(not left_open)
        gaps.append(True)
    if high == INFINITY:
        if not right_open:
            raise NotReal
    else:
        cuts.append(_cut(high))
        flags.append(not right_open)
        gaps.append(False)
    if len(cuts) == 2 and not cuts[0].position < cuts[1].position:
        raise NotReal
    return RealSet(tuple(cuts), tuple(flags), tuple(gaps))


def _listed(node: Seq) -> RealSet:
    """Intervals in a list are their union; conditions, what their conjunction makes of them."""
    if len(node.items) <= 20 and all(isinstance(item, Seq | SetOf) for item in node.items):
        union = EMPTY
        for item in node.items:
            union = combine("cup", union, real_set(item))
        return union
    if not all(isinstance(item, Relation) for item in node.items) or len(node.items) > 20:
        raise NotReal
    sets = [real_set(item) for item in node.items]
    if len({s.variable for s in sets}) != 1 or node.joint == "nested":
        raise NotReal
    result = sets[0]
    disjoint = node.joint == "or"
    for other in sets[1:]:
        met = combine("cap", result, other)
        # "x < 1, x > 3" can only mean either.
        if not disjoint and node.joint == "" and not any(met.gaps) and not any(met.points):
            disjoint = True
        result = combine("cup", result, other) if disjoint else met
    return result


_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}


def _relation(node: Relation) -> RealSet:
    if node.operators[0] in ("in", "notin") and len(node.sides) == 2:
        from verifiers.names import name_of

        name = name_of(node.sides[0])
        if name is None:
            raise NotReal
        inner = real_set(node.sides[1])
        if node.operators[0] == "notin":
            inner = combine("minus", LINE, inner)
        return RealSet(inner.cuts, inner.points, inner.gaps, name)
    result: RealSet | None = None
    for operator, left, right in zip(node.operators, node.sides, node.sides[1:], strict=False):
        if operator not in _FLIPPED:
            raise NotReal
        part = _solved(operator, left, right)
        if result is not None and part.variable != result.variable:
            raise NotReal
        result = part if result is None else combine("cap", result, part)
    if result is None:
        raise NotReal
    return result


def _solved(operator: str, left: Node, right: Node) -> RealSet:
    """The solutions of one comparison in one unknown, linear, quadratic or of an absolute value."""
    from verifiers.names import name_of

    if not _free(right) and _free(left):
        constant, unknown = right, left
    elif not _free(left) and _free(right):
        constant, unknown = left, right
        operator = _FLIPPED[operator]
    else:
        return _polynomial(operator, Add((left, Neg(right))))
    if isinstance(unknown, Sym):
        return _ray(operator, constant, unknown.name)
    if isinstance(unknown, Func) and unknown.name == "abs" and len(unknown.args) == 1:
        inner = unknown.args[0]
        if len(_free(inner)) == 1:
            return _absolute(operator, inner, constant)
    name = name_of(unknown)
    if name is not None and not isinstance(unknown, Func):
        return _ray(operator, constant, name)
    return _polynomial(operator, Add((unknown, Neg(constant))))


def _free(node: Node) -> set[str]:
    return variables(node)


def _ray(operator: str, bound: Node, name: str) -> RealSet:
    if bound == INFINITY or bound == Neg(INFINITY):
        below = bound == INFINITY
        if operator not in (("<", "<=", "!=") if below else (">", ">=", "!=")):
            raise NotReal
        return RealSet((), (), (True,), name)
    point = operator in ("<=", ">=", "=")
    below, above = operator in ("<", "<=", "!="), operator in (">", ">=", "!=")
    return RealSet((_cut(bound),), (point,), (below, above), name)


def _absolute(operator: str, inner: Node, bound: Node) -> RealSet:
    if operator in ("<", "<="):
        return combine(
            "cap", _solved(operator, inner, bound), _solved(_FLIPPED[operator], inner, Neg(bound))
        )
    if operator in (">", ">="):
        return combine(
            "cup", _solved(operator, inner, bound), _solved(_FLIPPED[operator], inner, Neg(bound))
        )
    equal = combine("cup", _solved("=", inner, bound), _solved("=", inner, Neg(bound)))
    return equal if operator == "=" else combine("minus", LINE, equal)


def _polynomial(operator: str, difference: Node) -> RealSet:
    """`difference operator 0` for a polynomial of degree one or two with rational coefficients."""
    from verifiers.normal import Normalizer
    from verifiers.polynomials import ONE, NotNormal

    try:
        value = Normalizer().value(difference)
    except NotNormal as error:
        raise NotReal from error
    names = {name for monomial in value.top for name, _ in monomial}
    if value.bottom is not ONE or len(names) != 1:
        raise NotReal
    (name,) = names
    coefficients = {0: Fraction(0), 1: Fraction(0), 2: Fraction(0)}
    for monomial, coefficient in value.top.items():
        exponent = monomial[0][1] if monomial else 0
        if exponent not in coefficients or name[0] != "v":
            raise NotReal
        coefficients[int(exponent)] = Fraction(coefficient)
    c, b, a = coefficients[0], coefficients[1], coefficients[2]
    if a == 0:
        return _ray(operator if b > 0 else _FLIPPED[operator], Num(-c / b), name[1:])
    discriminant = b * b - 4 * a * c
    if discriminant <= 0:
        raise NotReal
    root = Func("root", (Num(discriminant), Num(Fraction(2))))
    low, high = (
        Div(Add((Num(-b), Mul((Num(Fraction(sign)), root)))), Num(2 * a))
        for sign in ((-1, 1) if a > 0 else (1, -1))
    )
    cuts = (_cut(low), _cut(high))
    outside = operator in ((">", ">=", "!=") if a > 0 else ("<", "<=", "!="))
    inside = operator in (("<", "<=", "!=") if a > 0 else (">", ">=", "!="))
    point = operator in ("<=", ">=", "=")
    return RealSet(cuts, (point, point), (outside, inside, outside), name[1:])
