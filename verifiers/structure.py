"""Comparing two parsed answers by what they are: numbers, lists, sets, relations, text.

Every comparison answers True, False or None, which leaves the pair to the symbolic stage.
"""

from __future__ import annotations

from verifiers.assignments import regrouped
from verifiers.comparing import MAX_DEPTH, Verdict3
from verifiers.listings import Listings
from verifiers.matrices import Matrices, contains_matrix
from verifiers.parameters import with_parameters_of
from verifiers.relations import COLLECTIONS, Relations
from verifiers.scalars import Scalars
from verifiers.syntax import Choice, Node, Num, Relation
from verifiers.trees import expanded
from verifiers.wordings import Wordings


class Comparison(Wordings, Scalars, Relations, Listings, Matrices):
    """Compares two answers under one policy."""

    def same(self, c: Node, g: Node) -> Verdict3:
        """Whether the candidate `c` is the gold `g`."""
        if c == g:
            return True
        self.budget -= 1
        if self.budget < 0:
            return None
        if type(c) is Num and type(g) is Num:
            return c.value == g.value or self.same_decimal(c, g)
        c, g = expanded(regrouped(c)), expanded(regrouped(g))
        if self.depth == 0:
            c = with_parameters_of(c, g)
        self.depth += 1
        try:
            return None if self.depth > MAX_DEPTH else self.dispatch(c, g)
        finally:
            self.depth -= 1

    def dispatch(self, c: Node, g: Node) -> Verdict3:
        """Compares by kind."""
        if isinstance(c, Choice) or isinstance(g, Choice):
            return self.same_choice(c, g)
        if isinstance(c, Relation) or isinstance(g, Relation):
            return self.same_relation(c, g)
        if isinstance(c, COLLECTIONS) or isinstance(g, COLLECTIONS):
            return self.same_collection(c, g)
        if contains_matrix(c) or contains_matrix(g):
            return self.same_matrix(c, g)
        return self.same_quantity(c, g)
