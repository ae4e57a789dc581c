"""What every comparison of two nodes shares: three-valued verdicts, budgets, items in pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from verifiers.policy import Policy
from verifiers.syntax import Node

MAX_ITEMS = 200
MAX_DEPTH = 40
MAX_COMPARISONS = 4_000

Verdict3 = bool | None


def both(first: Verdict3, second: Callable[[], Verdict3]) -> Verdict3:
    """Three-valued conjunction."""
    if first is False:
        return False
    other = second()
    return False if other is False else None if first is None or other is None else True


class Comparer(ABC):
    """Compares nodes under one policy; True, False, or None for what stays open."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.budget = MAX_COMPARISONS
        self.depth = 0

    @abstractmethod
    def same(self, c: Node, g: Node) -> Verdict3:
        """Whether the candidate `c` is the gold `g`."""

    @abstractmethod
    def same_scalar(self, c: Node, g: Node) -> Verdict3:
        """Whether two scalar expressions have the same value."""

    @abstractmethod
    def same_sets(self, c: Node, g: Node) -> Verdict3:
        """Whether two nodes are the same set of reals."""

    @abstractmethod
    def same_matrix(self, c: Node, g: Node) -> Verdict3:
        """Whether two matrices, or a matrix and a tuple, have the same entries."""

    @abstractmethod
    def same_mapping(self, c: dict[str, Node], g: dict[str, Node]) -> Verdict3:
        """Whether the same names have the same values."""

    def each(self, c: tuple[Node, ...], g: tuple[Node, ...]) -> Verdict3:
        """Whether the items are the same, in order."""
        if len(c) != len(g):
            return False
        verdict: Verdict3 = True
        for a, b in zip(c, g, strict=True):
            one = self.same(a, b)
            if one is False:
                return False
            if one is None:
                verdict = None
        return verdict

    def matched(
        self, c: tuple[Node, ...], g: tuple[Node, ...], *, dedupe: bool = False
    ) -> Verdict3:
        """Whether the items pair up in some order."""
        if dedupe:
            c, g = self.distinct(c), self.distinct(g)
        if len(c) != len(g):
            return False
        left = list(c)
        undecided = False
        for item in g:
            for i, other in enumerate(left):
                verdict = self.same(other, item)
                if verdict:
                    del left[i]
                    break
                if verdict is None:
                    undecided = True
            else:
                if not undecided:
                    return False
        if not left:
            return True
        return None if undecided else False

    def distinct(self, items: tuple[Node, ...]) -> tuple[Node, ...]:
        """The items without repetitions."""
        kept: list[Node] = []
        for item in items:
            if not any(self.same(item, other) is True for other in kept):
                kept.append(item)
        return tuple(kept)
