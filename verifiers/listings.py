"""Comparing lists, tuples, sets and intervals."""

from __future__ import annotations

from typing import TypeGuard

from verifiers.assignments import has_relations, named, values_of
from verifiers.comparing import MAX_ITEMS, Comparer, Verdict3, both
from verifiers.realsets import NotReal, RealSet, real_set
from verifiers.relations import COLLECTIONS
from verifiers.syntax import Builder, Const, Matrix, Node, Relation, Seq, SetOf
from verifiers.trees import expanded
from verifiers.wordings import choices_of


class Listings(Comparer):
    """The part of a comparison that reads collections."""

    def same_collection(self, c: Node, g: Node) -> Verdict3:
        """Collections, and a collection against a single value."""
        if isinstance(c, SetOf) != isinstance(g, SetOf) and isinstance(c, Seq | SetOf):
            return bool(self.same_sets(c, g)) if isinstance(g, Seq | SetOf) else False
        if isinstance(c, Seq) and isinstance(g, Seq):
            verdict = self.same_seq(c, g)
            if verdict is False and (has_relations(c) or has_relations(g)):
                return bool(self.same_sets(c, g))
            return verdict
        if isinstance(c, COLLECTIONS) and isinstance(g, COLLECTIONS):
            verdict = self.same_sets(c, g)
            return self.same_unions(c, g) if verdict is None else verdict
        return self.one_against_many(c, g)

    def one_against_many(self, c: Node, g: Node) -> Verdict3:
        """A list is not one of its items, unless it has no other or the policy accepts hedging."""
        letters = choices_of(c), choices_of(g)
        if letters[0] is not None and letters[1] is not None:
            return letters[0] == letters[1]
        if isinstance(g, Seq) and len(g.items) == 1 and g.left in ("set", "("):
            return self.same(c, g.items[0])
        if isinstance(c, Seq) and len(c.items) == 1 and c.left in ("set", "("):
            return self.same(c.items[0], g)
        if isinstance(c, Matrix) or isinstance(g, Matrix):
            return self.same_matrix(c, g)
        # "x + 11, or 11 + x": the same answer twice is one answer.
        if _are_alternatives(c) and all(self.same(item, g) for item in c.items):
            return True
        if _are_alternatives(g) and all(self.same(c, item) for item in g.items):
            return True
        if isinstance(c, Seq) and c.left in ("", "set") and self.policy.hedging == "accept":
            return any(self.same(item, g) is True for item in c.items[:MAX_ITEMS])
        if isinstance(g, Const) or isinstance(c, Const):
            verdict = self.same_sets(c, g)
            return bool(verdict)
        return False

    def same_seq(self, c: Seq, g: Seq) -> Verdict3:
        """Lists, tuples and finite sets: order counts in tuples, brackets in intervals."""
        if len(c.items) > MAX_ITEMS or len(g.items) > MAX_ITEMS:
            return False
        c_free, g_free = c.left in ("", "set"), g.left in ("", "set")
        if g_free and c_free:
            pairs = named(c), named(g)
            if pairs[0] is not None and pairs[1] is not None:
                return self.same_mapping(pairs[0], pairs[1])
            if pairs[0] is not None or pairs[1] is not None:
                return self.each(values_of(c), values_of(g))
            if self.policy.list_order == "kept" and c.left == g.left == "":
                return self.each(c.items, g.items)
            different = len(c.items) != len(g.items)
            verdict = self.matched(c.items, g.items, dedupe=different or "set" in (c.left, g.left))
            if verdict is False and different:
                flat = _flattened(c), _flattened(g)
                if (len(flat[0]), len(flat[1])) != (len(c.items), len(g.items)):
                    return self.matched(*flat, dedupe=True)
            return verdict
        if "set" in (c.left, g.left):
            single, other = (c, g) if c.left == "set" else (g, c)
            if len(single.items) == 1 and isinstance(single.items[0], Seq):
                return self.same(single.items[0], other)
            return False
        if not c_free and not g_free and len(g.items) == 2:
            round_c, round_g = _brackets(c), _brackets(g)
            if round_c != round_g:
                return False
        if c_free or g_free:
            # A list without brackets can stand for a tuple, not for an interval or a vector.
            bracketed = g if c_free else c
            if (bracketed.left, bracketed.right) not in (("(", ")"), ("<", ">")):
                return False
        return self.each(values_of(c), values_of(g))

    def same_mapping(self, c: dict[str, Node], g: dict[str, Node]) -> Verdict3:
        """Values by name."""
        if c.keys() != g.keys():
            return False
        return self.each(tuple(c[name] for name in g), tuple(g.values()))

    def same_sets(self, c: Node, g: Node) -> Verdict3:
        """Sets of reals, as cuts of the line; None where a side is no such set."""
        try:
            left, right = real_set(c), real_set(g)
        except NotReal:
            return None
        if left.variable and right.variable and left.variable != right.variable:
            return False
        return self.same_cuts(left, right)

    def same_cuts(self, c: RealSet, g: RealSet) -> Verdict3:
        """Two sets of reals, cut by cut."""
        if (c.points, c.gaps) != (g.points, g.gaps):
            return False
        verdict: Verdict3 = True
        for a, b in zip(c.cuts, g.cuts, strict=True):
            if abs(a.position - b.position) > 1e-9 * max(1.0, abs(a.position), abs(b.position)):
                return False
            verdict = both(verdict, lambda x=a, y=b: self.same_scalar(x.node, y.node))  # type: ignore[misc]
        return verdict

    def same_unions(self, c: Node, g: Node) -> Verdict3:
        """Set operations on sets that are no real intervals, part by part."""
        if isinstance(c, SetOf) and isinstance(g, SetOf) and c.operator == g.operator:
            if c.operator == "minus":
                return both(self.same(c.left, g.left), lambda: self.same(c.right, g.right))
            return self.matched(_operands(c, c.operator), _operands(g, g.operator))
        if isinstance(c, Builder) and isinstance(g, Builder):
            return both(
                self.same(c.variable, g.variable), lambda: self.same(c.condition, g.condition)
            )
        if isinstance(c, Relation | SetOf | Builder) and isinstance(g, Relation | SetOf | Builder):
            return None
        return False


def _are_alternatives(node: Node) -> TypeGuard[Seq]:
    return isinstance(node, Seq) and (node.left, node.joint) == ("", "or") and len(node.items) <= 4


def _flattened(node: Seq) -> tuple[Node, ...]:
    flat: list[Node] = []
    for item in node.items:
        wide = expanded(item)
        flat.extend(wide.items if isinstance(wide, Seq) and wide.joint == "pm" else (item,))
    return tuple(flat)


def _brackets(node: Seq) -> tuple[str, str]:
    """Which ends are open, in either notation; angle brackets are those of a tuple."""
    if node.left in ("", "<"):
        return "(", ")"
    return {"]": "("}.get(node.left, node.left), {"[": ")"}.get(node.right, node.right)


def _operands(node: Node, operator: str) -> tuple[Node, ...]:
    if isinstance(node, SetOf) and node.operator == operator:
        return (*_operands(node.left, operator), *_operands(node.right, operator))
    return (node,)
