"""The form in which an answer is written, for policies that ask for the gold's own form."""

from __future__ import annotations

from verifiers.syntax import Add, Mul, Node, Num


def notation(part: object) -> object:
    """A form in which only spelling is forgotten: order of sums and products, decimals' zeros."""
    if isinstance(part, Num):
        return ("num", part.value, part.decimals is not None)
    if isinstance(part, Add | Mul):
        return (type(part).__name__, tuple(sorted(repr(notation(item)) for item in part.items)))
    if isinstance(part, tuple):
        return tuple(notation(item) for item in part)
    if isinstance(part, Node):
        names: tuple[str, ...] = tuple(part.__slots__)
        return (type(part).__name__, *(notation(getattr(part, name)) for name in names))
    return part
