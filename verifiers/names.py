"""Which left-hand sides only name a value: `x`, `f(2)`, `AB`, `(p, q)`, `S_{MBCN} : S`."""

from __future__ import annotations

from fractions import Fraction

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
    Pow,
    Quantity,
    Ratio,
    Seq,
    Sym,
    Text,
)

_APPLIED = frozenset("fghpqrsuvyFGHPQRSTVWANLEDC")
_MEASURES = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "abs",
        "det",
        "arg",
        "Re",
        "Im",
        "max",
        "min",
        "gcd",
        "lcm",
        "deg",
        "dim",
    ]
)


def name_of(node: Node, *, sums: bool = False) -> str | None:
    """A canonical spelling of a name, or None where the node is an expression of its own.

    With `sums`, a sum or difference of plain names is a name too (`m + n = 17` states 17).
    """
    if isinstance(node, Sym):
        return node.name
    if isinstance(node, Const) and node.name in ("e", "i", "R", "N", "Z", "Q"):
        return node.name
    if isinstance(node, Text):
        return node.words
    if isinstance(node, Quantity):
        inner = name_of(node.value, sums=sums)
        return None if inner is None else f"{inner} {node.unit}"
    if isinstance(node, Seq) and node.items:
        return _joined("(" + ",", [name_of(item) for item in node.items])
    if isinstance(node, Div):
        return _joined("/", [name_of(node.top), name_of(node.bottom)])
    if isinstance(node, Ratio):
        return _joined("/", [name_of(part) for part in node.parts])
    if isinstance(node, Func):
        if node.name in _MEASURES:
            return _joined(node.name, [name_of(argument) for argument in node.args])
        return None
    if isinstance(node, Mul):
        head = node.items[0]
        if isinstance(head, Sym) and head.name[0] in _APPLIED and len(node.items) == 2:
            argument = node.items[1]
            plain = isinstance(argument, Num | Neg | Seq | Add | Pow)
            if plain:
                return f"{head.name}({argument})"
        return _joined("*", [name_of(item) for item in node.items])
    if sums and isinstance(node, Add):
        parts = [name_of(i.item if isinstance(i, Neg) else i) for i in node.items]
        return _joined("+", parts)
    if isinstance(node, Pow) and isinstance(node.base, Sym) and node.exponent == Num(Fraction(-1)):
        return f"{node.base.name}^-1"
    if isinstance(node, Pow) and isinstance(node.base, Sym) and sums:
        return f"{node.base.name}^{node.exponent}"
    if isinstance(node, Builder):
        return None
    return None


def _joined(mark: str, parts: list[str | None]) -> str | None:
    known = [part for part in parts if part is not None]
    return mark + " ".join(known) if len(known) == len(parts) else None
