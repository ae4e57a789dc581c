"""Comparing equations, inequalities and named values."""

from __future__ import annotations

from fractions import Fraction

from verifiers import sampling
from verifiers.assignments import Assigned, assignment, is_rounding
from verifiers.comparing import Comparer, Verdict3
from verifiers.names import name_of
from verifiers.normal import Normalizer
from verifiers.polynomials import NotNormal, Undefined
from verifiers.syntax import (
    Add,
    Builder,
    Const,
    Mul,
    Neg,
    Node,
    Num,
    Relation,
    Seq,
    SetOf,
    Sym,
    Text,
)
from verifiers.trees import mentions, renamed, variables


class Relations(Comparer):
    """The part of a comparison that reads relations."""

    def same_relation(self, c: Node, g: Node) -> Verdict3:
        """A relation against a relation, a value or a set."""
        if isinstance(c, Relation) and isinstance(g, Relation):
            return self.two_relations(c, g)
        relation = g if isinstance(g, Relation) else c
        if not isinstance(relation, Relation):
            return None
        assigned = assignment(relation, sums=relation is c)
        if assigned is not None:
            if relation is g:
                if self.policy.relation == "required":
                    return False
                return self.same(c, assigned.value)
            verdict = self.same(assigned.value, g)
            if verdict is False and isinstance(g, Num):
                # "3 sqrt 2 ~ 4.24" where 4.24 was asked for.
                rounded = relation.operators[-1] == "~" and is_rounding(*relation.sides[-2:])
                return self.same(relation.sides[-1], g) if rounded else False
            return verdict
        if isinstance(c, (*COLLECTIONS, Const)) or isinstance(g, (*COLLECTIONS, Const)):
            if _is_equation(relation):
                return False
            verdict = self.same_sets(c, g)
            if verdict is None and len(variables(relation)) != 1:
                return False
            return verdict
        return False

    def two_relations(self, c: Relation, g: Relation) -> Verdict3:
        """Two relations: the same named value, solution set, or a multiple of each other."""
        alike = c.operators == g.operators and c.operators != ("=",)
        if alike and self.each(c.sides, g.sides):
            return True
        orders = _order_of_names(c), _order_of_names(g)
        if orders[0] is not None and orders[1] is not None:
            return orders[0] == orders[1]
        ca, ga = assignment(c, sums=True), assignment(g)
        if ca is not None and ga is not None:
            if ca.name == ga.name or _same_names(ca, ga):
                verdict = self.same(ca.value, ga.value)
                if verdict is not False:
                    return verdict
            elif (renamed_value := _renamed(ca, ga)) is not None:
                return self.same(renamed_value, ga.value)
            elif isinstance(ca.left, Seq) and isinstance(ga.left, Seq):
                return self.same_mapping(_pairs(ca), _pairs(ga))
        if _is_equation(c) and _is_equation(g):
            if ca is not None and ga is not None and _constant_value(ca) and _constant_value(ga):
                return False
            return self.same_equation(c, g)
        if _is_equation(c) != _is_equation(g) and not ({"in", "~"} & {*c.operators, *g.operators}):
            return False
        verdict = self.same_sets(c, g)
        if verdict is None and len(c.operators) == len(g.operators) == 1:
            return self.same_inequality(c, g)
        return verdict

    def same_equation(self, c: Relation, g: Relation) -> Verdict3:
        """Whether two equations are multiples of each other."""
        return self.proportional(_difference(c), _difference(g), positive=False)

    def same_inequality(self, c: Relation, g: Relation) -> Verdict3:
        """Whether two inequalities are positive multiples of each other."""
        flipped = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}
        co, go = c.operators[0], g.operators[0]
        if co not in flipped or go not in flipped:
            return False if co != go else None
        left = _difference(c)
        if co != go:
            if flipped[co] != go:
                return False
            left = Neg(left)
        return self.proportional(left, _difference(g), positive=go != "!=")

    def proportional(self, c: Node, g: Node, *, positive: bool) -> Verdict3:
        """Whether two expressions differ by a constant (positive) factor."""
        normalizer = Normalizer()
        try:
            left, right = normalizer.value(c), normalizer.value(g)
        except Undefined:
            return False
        except NotNormal:
            return sampling.proportional(c, g, positive=positive)
        if not left.top or not right.top:
            return not left.top and not right.top
        lead = min(left.top)
        comparable = left.bottom == right.bottom or not positive
        if comparable and lead in right.top and len(left.top) == len(right.top):
            ratio = Fraction(left.top[lead]) / Fraction(right.top[lead])
            if all(
                monomial in right.top and coefficient == right.top[monomial] * ratio
                for monomial, coefficient in left.top.items()
            ):
                return ratio > 0 or not positive
        return sampling.proportional(c, g, positive=positive)


COLLECTIONS = (Seq, SetOf, Builder)


def _same_names(c: Assigned, g: Assigned) -> bool:
    """`y` and `f(x)` name the same function; words name anything."""
    if c.name is None or g.name is None:
        return True
    if isinstance(c.left, Text) != isinstance(g.left, Text):
        return True
    if c.name.lower() == g.name.lower() and not (variables(c.value) or variables(g.value)):
        return True
    applied = c.name.split(" "), g.name.split(" ")
    if all(len(name) == 2 and name[0][0] == "*" for name in applied):
        # f(x) and f(n) are one function, whatever the letter; a constant value has no letter.
        return applied[0][0] == applied[1][0] and not variables(c.value)
    return c.name in _OTHER_NAMES.get(g.name, ()) or g.name in _OTHER_NAMES.get(c.name, ())


_OTHER_NAMES = {
    "y": ("*f x", "*g x", "*h x"),
    "y'": ("*f' x", "*g' x", "*h' x", "/*d y *d x"),
    "y''": ("*f'' x", "*g'' x", "*h'' x"),
    "*f' x": ("/*d f *d x",),
}


def _renamed(c: Assigned, g: Assigned) -> Node | None:
    """The candidate's value with the gold's letter, where both define one function: f(n), f(x)."""
    left, right = c.left, g.left
    if not (isinstance(left, Mul) and isinstance(right, Mul)):
        return None
    if len(left.items) != 2 or len(right.items) != 2 or left.items[0] != right.items[0]:
        return None
    old, new = left.items[1], right.items[1]
    if not (isinstance(old, Sym) and isinstance(new, Sym)) or mentions(c.value, new):
        return None
    return renamed(c.value, old, new)


def _order_of_names(node: Relation) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The order that `f(2) < f(1) < f(4)` states, read from the smaller end; None for others."""
    rising, falling = ("<", "<="), (">", ">=")
    names = [name_of(side) for side in node.sides]
    known = tuple(name for name in names if name is not None)
    if len(known) != len(names) or len(known) < 2:
        return None
    if all(operator in rising for operator in node.operators):
        return node.operators, known
    if all(operator in falling for operator in node.operators):
        flipped = tuple(rising[falling.index(operator)] for operator in reversed(node.operators))
        return flipped, known[::-1]
    return None


def _constant_value(assigned: Assigned) -> bool:
    return not variables(assigned.value) and isinstance(assigned.left, Sym)


def _pairs(assigned: Assigned) -> dict[str, Node]:
    """Names to values where a tuple of names is set to a tuple."""
    left, value = assigned.left, assigned.value
    if (
        not isinstance(left, Seq)
        or not isinstance(value, Seq)
        or len(value.items) != len(left.items)
    ):
        return {str(assigned.name): value}
    return {str(name_of(n)): v for n, v in zip(left.items, value.items, strict=True)}


def _is_equation(node: Relation) -> bool:
    return all(operator == "=" for operator in node.operators)


def _difference(node: Relation) -> Node:
    return Add((node.sides[0], Neg(node.sides[-1])))
