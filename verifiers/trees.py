"""Walking and rewriting syntax: what a node mentions, and the node with something replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from verifiers.syntax import (
    Add,
    Builder,
    Choice,
    Clock,
    Func,
    Neg,
    Node,
    Opaque,
    PlusMinus,
    Relation,
    Seq,
    SetOf,
    Sym,
    Text,
)


def walk(node: Node) -> Iterator[Node]:
    """The node and everything under it, without recursion."""
    stack: list[object] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(item)
        elif isinstance(item, Node):
            yield item
            stack.extend(getattr(item, name) for name in item.__slots__)


def size(node: Node) -> int:
    """The number of nodes."""
    return sum(1 for _ in walk(node))


def variables(node: Node) -> set[str]:
    """The names of the variables in an expression."""
    return {item.name for item in walk(node) if isinstance(item, Sym)}


def mentions(node: Node, wanted: Node) -> bool:
    """Whether a node has `wanted` in it."""
    return any(item == wanted for item in walk(node))


def is_scalar(node: Node) -> bool:
    """Whether a node is made of scalars alone."""
    return not any(isinstance(item, _NO_SCALARS) for item in walk(node))


_NO_SCALARS = (Seq, SetOf, Builder, Relation, Text, Opaque, Clock, Choice)


def has_unstated_log(node: Node) -> bool:
    """Whether a logarithm's base is left to the reader."""
    return any(isinstance(i, Func) and i.name == "log" and len(i.args) == 1 for i in walk(node))


def with_natural_logs(node: Node) -> Node:
    """The node with logarithms of no stated base as natural ones."""
    if isinstance(node, Func) and node.name == "log" and len(node.args) == 1:
        return Func("ln", (with_natural_logs(node.args[0]),))
    return rebuilt(node, with_natural_logs)


def renamed(node: Node, old: Node, new: Node) -> Node:
    """The node with every `old` replaced: a bound `i` is an index, not the imaginary unit."""
    if node == old:
        return new
    return rebuilt(node, lambda part: renamed(part, old, new))


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """The node with `change` applied to its parts."""
    parts: dict[str, object] = {}
    for name in node.__slots__:
        part = getattr(node, name)
        if isinstance(part, Node):
            parts[name] = change(part)
        elif isinstance(part, tuple):
            parts[name] = _rebuilt_tuple(part, change)
    return replace(node, **parts) if parts else node  # type: ignore[arg-type]


def _rebuilt_tuple(part: tuple[object, ...], change: Callable[[Node], Node]) -> tuple[object, ...]:
    return tuple(
        change(item)
        if isinstance(item, Node)
        else _rebuilt_tuple(item, change)
        if isinstance(item, tuple)
        else item
        for item in part
    )


def expanded(node: Node) -> Node:
    """`a ± b` as the list of its two values, at the top of a scalar, a list or a relation."""
    if isinstance(node, Seq):
        if not any(has_plus_minus(item) for item in node.items):
            return node
        items: list[Node] = []
        for item in node.items:
            wide = expanded(item)
            pair = isinstance(wide, Seq) and wide.joint == "pm"
            items.extend(wide.items if pair and isinstance(wide, Seq) else (wide,))
        return Seq(node.left, tuple(items), node.right, node.joint)
    if isinstance(node, Relation):
        if node.operators == ("=",) and has_plus_minus(node.sides[1]):
            return Relation(("=",), (node.sides[0], expanded(node.sides[1])))
        return node
    if not has_plus_minus(node):
        return node
    return Seq("", (_signed(node, True), _signed(node, False)), "", "pm")


def has_plus_minus(node: Node) -> bool:
    """Whether there is a `±` in the node."""
    return any(isinstance(item, PlusMinus) for item in walk(node))


def _signed(node: Node, upper: bool) -> Node:
    """The node with the upper or the lower signs."""
    if isinstance(node, PlusMinus):
        right = _signed(node.right, upper)
        if upper != node.plus_first:
            right = Neg(right)
        return right if node.left is None else Add((_signed(node.left, upper), right))
    return rebuilt(node, lambda part: _signed(part, upper))
