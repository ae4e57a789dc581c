"""Relations that state a named value: `x = 5`, `k in {1, 2}`, `x = 1 or x = 2`."""

from __future__ import annotations

from dataclasses import dataclass

from verifiers import sampling
from verifiers.names import name_of
from verifiers.syntax import Mul, Node, Num, Relation, Seq, Sym
from verifiers.trees import expanded, variables


@dataclass(frozen=True, slots=True)
class Assigned:
    """A named value: `x = 5`, `x in {1, 2}`. `name` is None for an equation between numbers."""

    name: str | None
    value: Node
    left: Node


def assignment(node: Relation, *, sums: bool = False) -> Assigned | None:
    """The named value that a relation states, None for equations and inequalities."""
    sides, operators = list(node.sides), list(node.operators)
    if operators == ["in"]:
        name = name_of(sides[0])
        return None if name is None else Assigned(name, sides[1], sides[0])
    constant = all(not variables(side) for side in sides)
    while operators[-1:] == ["~"] and (len(operators) > 1 or constant):
        operators.pop()
        sides.pop()
    if not operators:
        return Assigned(None, sides[0], sides[0])
    if any(operator not in ("=", "~", "equiv", "to") for operator in operators):
        return None
    if any(isinstance(side, Mul) and side.items[-1] == sides[0] for side in sides[1:-1]):
        return None  # "x = 4 \quad x = 5" states two values, side by side
    name = name_of(sides[0], sums=sums)
    if name is not None and not (len(sides) == 2 and _uses(sides[1], sides[0])):
        return Assigned(name, sides[-1], sides[0])
    name = name_of(sides[-1])
    swapped = name is not None and len(sides) == 2 and not isinstance(sides[0], Sym)
    if swapped and not variables(sides[0]):
        return Assigned(name, sides[0], sides[-1])
    inner = [side for side in sides[1:-1] if isinstance(side, Sym)]
    if inner and not variables(sides[-1]):
        return Assigned(inner[-1].name, sides[-1], inner[-1])
    if constant:
        return Assigned(None, sides[-1], sides[0])
    return None


def is_rounding(exact: Node, rounded: Node) -> bool:
    """Whether `3 sqrt 2 ~ 4.24` holds: the right side is the left one to the digits shown."""
    if variables(exact) or not isinstance(rounded, Num):
        return False
    try:
        error = sampling.approximate(exact) - sampling.approximate(rounded)
    except sampling.NoValue:
        return False
    return bool(2 * abs(error) <= 10.0 ** -(rounded.decimals or 0))


def _uses(value: Node, name: Node) -> bool:
    return isinstance(name, Sym) and name.name in variables(value)


def regrouped(node: Node) -> Node:
    """`x = 1, 2, 3` and `x = 1 or x = 2` as one assignment of a list."""
    if not isinstance(node, Seq) or node.left != "" or not has_relations(node):
        return node
    if not isinstance(node.items[0], Relation):
        return node
    first = assignment(node.items[0])
    if first is None or first.name is None:
        return node
    values = [first.value]
    for item in node.items[1:]:
        if isinstance(item, Relation):
            other = assignment(item)
            if other is None or other.name != first.name:
                return node
            values.append(other.value)
        else:
            values.append(item)
    flat: list[Node] = []
    for value in values:
        wide = expanded(value)
        flat.extend(wide.items if isinstance(wide, Seq) and wide.left == "" else (value,))
    return Relation(("=",), (first.left, Seq("", tuple(flat), "", node.joint)))


def has_relations(node: Seq) -> bool:
    """Whether an item is a relation."""
    return any(isinstance(item, Relation) for item in node.items)


def named(node: Seq) -> dict[str, Node] | None:
    """Names to values where all items are assignments to different names."""
    found: dict[str, Node] = {}
    for item in node.items:
        assigned = assignment(item) if isinstance(item, Relation) else None
        if assigned is None or assigned.name is None or assigned.name in found:
            return None
        found[assigned.name] = assigned.value
    return found if found else None


def values_of(node: Seq) -> tuple[Node, ...]:
    """The items, or what is assigned where all are assignments."""
    names = named(node)
    return node.items if names is None else tuple(names.values())
