"""Putting syntax together: sums, products and quotients as the parser meets them."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeGuard

from verifiers import units
from verifiers.syntax import (
    Add,
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
    Quantity,
    Seq,
    Sym,
    Text,
)
from verifiers.verdict import ParseError


def sum_of(items: list[Node]) -> Node:
    """A sum; a unit after its last term is the whole sum's."""
    if len(items) == 1:
        return items[0]
    last = items[-1].item if isinstance(items[-1], Neg) else items[-1]
    if isinstance(last, Quantity) and not any(isinstance(i, Quantity) for i in items[:-1]):
        # The unit after a sum is the whole sum's.
        final = Neg(last.value) if isinstance(items[-1], Neg) else last.value
        return Quantity(Add((*items[:-1], final)), last.unit)
    return Add(tuple(items))


def product_of(items: list[Node]) -> Node:
    """A product, or its only factor."""
    if len(items) == 1:
        return items[0]
    last = items[-1]
    if isinstance(last, Quantity) and not any(isinstance(i, Quantity) for i in items[:-1]):
        return Quantity(product_of([*items[:-1], last.value]), last.unit)
    # Sets are not multiplied: braces in a product are brackets of another kind.
    return Mul(
        tuple(
            item.items[0]
            if isinstance(item, Seq) and item.left == "set" and len(item.items) == 1
            else item
            for item in items
        )
    )


def negate(node: Node) -> Node:
    """The negative; the sign of a number or quantity goes inside."""
    if isinstance(node, Num):
        return Num(-node.value, node.decimals, node.significant)
    if isinstance(node, Quantity):
        return Quantity(negate(node.value), node.unit)
    if isinstance(node, Percent):
        return Percent(negate(node.value))
    if isinstance(node, Degree):
        return Degree(negate(node.value))
    return Neg(node)


def divide(top: Node, bottom: Node) -> Node:
    """A quotient; of two units, a unit."""
    if isinstance(top, Text) and isinstance(bottom, Text):
        return Text(f"{top.words}/{bottom.words}")
    if isinstance(bottom, Quantity) and not isinstance(top, Quantity):
        # "10/3 cm" is a third of ten centimetres.
        return Quantity(Div(top, bottom.value), bottom.unit)
    return Div(top, bottom)


def is_part(fraction: Div) -> bool:
    """Whether a fraction of whole numbers can be the part of a mixed number."""
    top, bottom = fraction.top, fraction.bottom
    return (
        isinstance(top, Num)
        and isinstance(bottom, Num)
        and top.value.denominator == bottom.value.denominator == 1
        and top.value >= 0
        and bottom.value > 0
    )


def mixed(whole: Fraction, part: Fraction) -> Fraction:
    """`-3 1/2` is -(3 + 1/2)."""
    return whole - part if whole < 0 else whole + part


def quotient(fraction: Div) -> Fraction:
    """The value of a fraction of numbers."""
    if not (isinstance(fraction.top, Num) and isinstance(fraction.bottom, Num)):
        raise TypeError("a quotient of other things than numbers")
    return fraction.top.value / fraction.bottom.value


def is_bare(node: Node) -> TypeGuard[Seq]:
    """Whether a node is a list without brackets."""
    return isinstance(node, Seq) and node.left == ""


def compound(first: Quantity, value: Node, unit: str) -> Node:
    """`3 hours 30 minutes` as a quantity in its first unit."""
    factor = units.conversion(unit, first.unit)
    if factor is None or units.read(unit) is None:
        raise ParseError(f"{first.unit} and {unit} side by side")
    return Quantity(Add((first.value, Mul((value, Num(factor))))), first.unit)


_HEDGES = frozenset(
    [
        "maybe",
        "perhaps",
        "possibly",
        "probably",
        "or",
        "not",
        "wrong",
        "incorrect",
        "unsure",
        "either",
        "might",
        "could",
        "but",
        "wait",
        "actually",
    ]
)


_MULTIPLES = {
    "hundred": 100,
    "thousand": 1_000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
    "trillion": 1_000_000_000_000,
}


def with_unit(node: Node, unit: str) -> Node:
    """A value with its unit; words such as "million" multiply."""
    if not _HEDGES.isdisjoint(unit.lower().split()):
        raise ParseError(f"a hedge after a value: {unit!r}")
    multiple, _, rest = unit.partition(" ")
    if multiple.lower() in _MULTIPLES and not isinstance(node, Text | Quantity):
        node = Mul((node, Num(Fraction(_MULTIPLES[multiple.lower()]))))
        if not rest:
            return node
        unit = rest
    if isinstance(node, Text):
        return Text(f"{node.words} {words_of(unit)}")
    if isinstance(node, Quantity):
        return Quantity(node.value, f"{node.unit} {unit}")
    return Quantity(node, unit)


def words_of(text: str) -> str:
    """Words in lower case and single-spaced, without a leading article."""
    plain = " ".join(text.lower().replace("-", " ").split()).strip(" .,;:!'\"")
    for article in ("the ", "a ", "an "):
        if plain.startswith(article):
            return plain[len(article) :]
    return plain


def accented(accent: str, node: Node) -> Node:
    """Letters under an accent, as one name."""
    letters: list[str] = []
    for item in node.items if isinstance(node, Mul) else (node,):
        if not isinstance(item, Sym | Const):
            return Func(accent, (node,))
        letters.append(item.name)
    if accent in ("vec", "hat", "tilde", "widehat", "widetilde", "bar") and len(letters) == 1:
        return Sym(letters[0])
    return Sym("".join(letters))


def apply(name: str, base: Node | None, arguments: tuple[Node, ...]) -> Node:
    """A function applied; logarithms have their bases told apart."""
    if name in ("log", "ln", "lg"):
        if len(arguments) != 1:
            raise ParseError(f"{name} of {len(arguments)} arguments")
        if name == "ln":
            return Func("ln", arguments)
        if base is None:
            base = Num(Fraction(10)) if name == "lg" else None
        return Func("log", arguments if base is None else (*arguments, base))
    if name == "exp" and len(arguments) == 1:
        return Pow(Const("e"), arguments[0])
    if base is not None:
        return Func(name, (*arguments, Func("of", (base,))))
    return Func(name, arguments)


def integrand(body: Node) -> tuple[Node, str]:
    """Splits `f dx` into the integrand and its variable."""
    if isinstance(body, Add):
        last, variable = integrand(body.items[-1])
        return (Add((*body.items[:-1], last)), variable) if variable else (body, "")
    if isinstance(body, Div):
        top, variable = integrand(body.top)
        return (Div(top, body.bottom), variable) if variable else (body, "")
    factors: list[Node] = list(body.items) if isinstance(body, Mul) else [body]
    if len(factors) >= 2 and factors[-2] == Sym("d") and isinstance(factors[-1], Sym):
        rest = factors[:-2]
        return product_of(rest) if rest else Num(Fraction(1)), factors[-1].name
    return body, ""
