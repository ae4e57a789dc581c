"""The innermost rules of the grammar: numbers, brackets, functions, matrices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

from verifiers import vocabulary as words
from verifiers.building import (
    accented,
    apply,
    divide,
    integrand,
    is_bare,
    negate,
    product_of,
    with_unit,
    words_of,
)
from verifiers.cursor import Cursor
from verifiers.numerals import Token, number
from verifiers.syntax import (
    Based,
    Big,
    Builder,
    Const,
    Func,
    Matrix,
    Node,
    Num,
    Pow,
    Relation,
    Seq,
    Sym,
    Text,
)
from verifiers.trees import renamed
from verifiers.verdict import ParseError

_MATRICES = frozenset(
    [
        "matrix",
        "pmatrix",
        "bmatrix",
        "Bmatrix",
        "vmatrix",
        "Vmatrix",
        "smallmatrix",
        "array",
        "cases",
        "aligned",
    ]
)


_CLOSERS = {"(": frozenset(")]"), "[": frozenset(")]"), "]": frozenset("[]")}


def _is_half_open(left: str, right: str) -> bool:
    """Brackets of different kinds, which enclose the two ends of an interval and nothing else."""
    return (left, right) not in (("(", ")"), ("[", "]"))


class Primaries(Cursor, ABC):
    """Primaries, on top of the rules that the parser adds."""

    @abstractmethod
    def listed(self) -> Node:
        """A list, or its only item."""

    @abstractmethod
    def relation(self) -> Node:
        """A chain of relations, or its only side."""

    @abstractmethod
    def added(self) -> Node:
        """A sum, or its only term."""

    @abstractmethod
    def term(self) -> Node:
        """A product, or its only factor."""

    @abstractmethod
    def power(self) -> Node:
        """A primary with its postfixes and exponents."""

    @abstractmethod
    def exponent(self) -> Node:
        """What follows `^`."""

    @abstractmethod
    def unit(self) -> str:
        """A unit as written."""

    def primary(self) -> Node:
        """A number, name, bracket, function or other unit of the grammar."""
        self.deeper()
        node = self.unwrapped()
        self.depth -= 1
        return node

    def unwrapped(self) -> Node:
        """A primary, not counted as a level."""
        token = self.token
        kind = token.kind
        if kind == "num":
            self.advance()
            return number(token.text)
        if kind == "sym":
            self.advance()
            return Sym(token.text)
        if kind == "const":
            self.advance()
            return Const(token.text)
        if kind in ("(", "[", "]"):
            return self.bracketed()
        if kind == "{":
            return self.argument()
        if kind == "set{":
            return self.braces()
        if kind == "func":
            return self.function()
        if kind == "cmd":
            return self.construct()
        if kind in ("|", "lbar"):
            return self.absolute()
        if kind == "text":
            written = [self.unit()]
            while self.token.kind in ("num", "text") and self.token.spaced:
                written.append(self.advance().text)
            return Text(words_of(" ".join(written)))
        if kind == "begin":
            return self.environment()
        if kind == "accent":
            self.advance()
            return accented(token.text, self.argument())
        if kind == "based":
            self.advance()
            digits, _, base = token.text.partition("_")
            return Based(digits, int(base))
        if kind == "currency":
            self.advance()
            return with_unit(self.power(), token.text)
        if kind in ("lfloor", "lceil"):
            self.advance()
            inner = self.relation()
            self.expect("rfloor" if kind == "lfloor" else "rceil")
            return Func("floor" if kind == "lfloor" else "ceil", (inner,))
        if kind == "langle":
            self.advance()
            items = self.listed()
            self.expect("rangle")
            return Seq("<", items.items if is_bare(items) else (items,), ">")
        if kind == "big":
            return self.big()
        if kind == "dots":
            self.advance()
            return Sym("...")
        if kind in ("pm", "mp", "-", "+"):
            return self.added()
        raise ParseError(f"unexpected {token.text or 'end of the text'!r}")

    def argument(self) -> Node:
        """A brace group, or the one token that TeX takes for it."""
        self.deeper()
        node = self.group()
        self.depth -= 1
        return node

    def group(self) -> Node:
        """An argument, not counted as a level."""
        if self.token.kind == "{":
            self.advance()
            if self.token.kind == "}":
                self.advance()
                return Seq("set", (), "set")
            self.deeper()
            bars, self.bars = self.bars, 0
            node = self.listed()
            self.bars = bars
            self.depth -= 1
            self.expect("}")
            return node
        if self.token.kind == "num" and len(self.token.text) > 1 and self.token.text.isdigit():
            token = self.advance()
            self.push_back(Token("num", token.text[1:], False))
            return number(token.text[0])
        if self.token.kind == "-":
            self.advance()
            return negate(self.argument())
        return self.primary()

    def bracketed(self) -> Node:
        """Round or square brackets: grouping, a tuple or an interval."""
        left = self.advance().kind
        closers = _CLOSERS[left]
        if self.token.kind in closers:
            return Seq(left, (), self.advance().kind)
        bars, self.bars = self.bars, 0
        builder, self.in_builder = self.in_builder, 0
        outer, self.outward = self.outward, int(left == "]")
        items = self.listed()
        self.bars, self.in_builder, self.outward = bars, builder, outer
        right = self.expect(*closers).kind
        if is_bare(items):
            flat: tuple[Node, ...] = items.items
            if items.joint == "nested":
                flat = tuple(
                    inner
                    for item in items.items
                    for inner in (item.items if is_bare(item) else (item,))
                )
            if items.joint in ("and", "or"):
                return items
            if len(flat) != 2 and _is_half_open(left, right):
                raise ParseError("brackets that do not match")
            return Seq(left, flat, right)
        if _is_half_open(left, right):
            raise ParseError("brackets that do not match")
        return items

    def braces(self) -> Node:
        """Escaped braces: a set, or a set with its condition."""
        self.advance()
        if self.token.kind == "set}":
            self.advance()
            return Seq("set", (), "set")
        if self.token.kind == "begin":
            # A brace that opens a system of equations is closed by `\\right.` alone.
            system = self.environment()
            if self.token.kind == "set}":
                self.advance()
            return system
        bars, self.bars = self.bars, 1
        builder, self.in_builder = self.in_builder, 1
        items = self.listed()
        if self.token.kind in ("mid", "|", ":"):
            self.advance()
            condition = self.listed()
            self.expect("set}")
            self.bars, self.in_builder = bars, builder
            return Builder(items, condition)
        self.bars, self.in_builder = bars, builder
        self.expect("set}")
        return Seq("set", items.items if is_bare(items) else (items,), "set")

    def absolute(self) -> Node:
        """Bars: an absolute value, or the determinant of a matrix."""
        opening = self.advance().kind
        self.bars += 1
        inner = self.listed()
        self.bars -= 1
        self.expect("|", "rbar") if opening == "|" else self.expect("rbar", "|")
        if isinstance(inner, Matrix):
            return Func("det", (inner,))
        return Func("abs", (inner,))

    def construct(self) -> Node:
        """Fractions, binomials and roots."""
        name = self.advance().text
        if name == "frac":
            top = self.argument()
            return divide(top, self.argument())
        if name == "binom":
            top = self.argument()
            return Func("binom", (top, self.argument()))
        index: Node = Num(Fraction(2))
        if self.token.kind == "[":
            self.advance()
            index = self.listed()
            self.expect("]")
        if self.token.kind == "num":
            radicand: Node = number(self.advance().text)
        elif self.token.kind in ("func", "big"):
            raise ParseError("a root of nothing")
        else:
            radicand = self.primary()
        return Func("root", (radicand, index))

    def function(self) -> Node:
        """A named function with its base, exponent and arguments."""
        name = self.advance().text
        base: Node | None = None
        exponent: Node | None = None
        while self.token.kind in ("_", "^"):
            if self.advance().kind == "_":
                base = self.argument() if self.token.kind != "num" else number(self.advance().text)
            else:
                self.wrap()
                exponent = self.exponent()
        arguments = self.arguments()
        node = apply(name, base, arguments)
        if exponent is None:
            return node
        if exponent == Num(Fraction(-1)) and name in words.INVERSES:
            return Func(words.INVERSES[name], arguments)
        return Pow(node, exponent)

    def arguments(self) -> tuple[Node, ...]:
        """Arguments in brackets, or the implicit product that follows."""
        kind = self.token.kind
        if kind in ("(", "{", "[", "set{"):
            if kind == "set{":
                inner: Node = self.braces()
            else:
                inner = self.argument() if kind == "{" else self.bracketed()
            return inner.items if isinstance(inner, Seq) else (inner,)
        negative = False
        while self.token.kind == "-":
            self.advance()
            negative = not negative
        if self.token.kind == "func":
            self.deeper()
            inner = self.function()
            self.depth -= 1
            return (negate(inner) if negative else inner,)
        product: list[Node] = [self.power()]
        while self.token.kind in ("num", "sym", "const", "cmd", "accent") or (
            self.token.kind == "(" and isinstance(product[-1], Num)
        ):
            if self.integrals and self.token.text == "d" and self.peek().kind == "sym":
                break  # the differential ends the integrand
            product.append(self.power())
        inner = product_of(product)
        return (negate(inner) if negative else inner,)

    def big(self) -> Node:
        """A sum, product, integral or limit."""
        name = self.advance().text
        low = high = None
        variable = ""
        while self.token.kind in ("_", "^"):
            if self.advance().kind == "_":
                low = self.argument()
            else:
                high = self.exponent()
        if isinstance(low, Relation) and isinstance(low.sides[0], Sym | Const):
            variable = low.sides[0].name
            low = low.sides[-1]
            if isinstance(low, Pow) and low.exponent in (Sym("+"), Sym("-")):
                low = low.base
        self.deeper()
        self.integrals += name == "int"
        body = self.term() if name != "int" else self.added()
        if isinstance(body, Seq) and body.left == "set" and len(body.items) == 1:
            body = body.items[0]  # braces that only group
        self.integrals -= name == "int"
        self.depth -= 1
        if variable in ("i", "e", "I"):
            body = renamed(body, Const("i" if variable == "I" else variable), Sym(variable))
        if name == "int":
            body, variable = integrand(body)
        return Big(name, variable, low, high, body)

    def environment(self) -> Node:
        """A matrix environment."""
        name = self.advance().text
        if name not in _MATRICES:
            raise ParseError(f"environment {name!r} is not read")
        if name == "array" and self.token.kind == "{":
            while self.token.kind not in ("}", "end of text"):
                self.advance()
            self.expect("}")
        self.deeper()
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        bars, self.bars = self.bars, 0
        while self.token.kind != "end":
            if self.token.kind == "newline":
                self.advance()
                if row:
                    rows.append(tuple(row))
                    row = []
            elif self.token.kind == "&" or self.token.kind == "sep":
                self.advance()
            else:
                row.append(self.relation())
        if row:
            rows.append(tuple(row))
        self.bars = bars
        self.depth -= 1
        self.advance()
        if not rows or any(len(r) != len(rows[0]) for r in rows):
            raise ParseError("matrix rows of unequal length")
        if len(rows[0]) == 1 and all(isinstance(row[0], Relation) for row in rows):
            return Seq("", tuple(row[0] for row in rows), "", "and")
        matrix = Matrix(tuple(rows))
        return Func("det", (matrix,)) if name == "vmatrix" else matrix
