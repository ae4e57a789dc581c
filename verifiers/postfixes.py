"""The rules for what follows a primary: exponents, units, marks and subscripts."""

from __future__ import annotations

from abc import ABC
from fractions import Fraction

from verifiers.building import negate, with_unit
from verifiers.primaries import Primaries
from verifiers.syntax import (
    Based,
    Const,
    Degree,
    Func,
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

_POSTFIXES = frozenset(("!", "%", "degree", "'", "_", "currency", "text"))


_BASE_NAMES = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "sixteen": 16,
}


_TRANSPOSED = (Sym("T"), Sym("\\top"), Sym("\\intercal"))
_ZERO, _INFINITY = Num(Fraction(0)), Const("oo")
_HALF_LINES = {
    "+": Seq("(", (_ZERO, _INFINITY), ")"),
    ">0": Seq("(", (_ZERO, _INFINITY), ")"),
    ">=0": Seq("[", (_ZERO, _INFINITY), ")"),
    "-": Seq("(", (Neg(_INFINITY), _ZERO), ")"),
    "<0": Seq("(", (Neg(_INFINITY), _ZERO), ")"),
    "<=0": Seq("(", (Neg(_INFINITY), _ZERO), "]"),
}
r"""What a sign makes of the reals: `\mathbb{R}^+`, `\mathbb{R}_{\ge 0}`."""


class Postfixes(Primaries, ABC):
    """What follows a primary: exponents, units, marks and subscripts."""

    def power(self) -> Node:
        """A primary with its postfixes and exponents."""
        node = self.postfix()
        while self.token.kind == "^":
            self.wrap()
            self.advance()
            if self.token.kind == "circ" or self.token.kind == "degree":
                self.advance()
                node = Degree(node)
                node = self.after(node)
                continue
            if (
                self.token.kind == "{"
                and self.peek().kind in ("circ", "degree")
                and self.peek(2).kind == "}"
            ):
                for _ in range(3):
                    self.advance()
                node = self.after(Degree(node))
                continue
            braces = int(self.token.kind == "{")
            if isinstance(node, Num) and (self.peek() if braces else self.token).text == "o":
                if braces and self.peek(2).kind != "}":
                    raise ParseError("a power of an unknown kind")
                for _ in range(1 + 2 * braces):
                    self.advance()
                node = self.after(Degree(node))
                continue
            if self.token.kind == "'" or (self.token.kind == "{" and self.peek().kind == "'"):
                node = self.primed(node)
                continue
            exponent = self.exponent()
            if self.token.kind == "_" and isinstance(node, Sym):
                node = self.subscript(node)
            half = _HALF_LINES.get(exponent.name) if isinstance(exponent, Sym) else None
            power: Node = half if half is not None and node == Const("R") else Pow(node, exponent)
            vector = isinstance(node, Seq) and node.left in ("(", "[")
            if vector and exponent in _TRANSPOSED:
                power = node  # a vector, lying or standing
            node = self.after(power)
        return node

    def exponent(self) -> Node:
        """What follows `^`: a group, or one signed factor without its own products."""
        self.deeper()
        if self.token.kind == "{" and self.peek().kind in ("+", "-") and self.peek(2).kind == "}":
            self.advance()
            node: Node = Sym(self.advance().text)
            self.advance()
        elif self.token.kind == "{":
            node = self.argument()
        else:
            negative = False
            signed = self.token.kind in ("-", "+")
            while self.token.kind in ("-", "+"):
                negative ^= self.advance().kind == "-"
            if signed and self.token.kind in ("}", "end of text", ")"):
                return Sym("-" if negative else "+")  # the side of a limit
            node = self.primary()
            if self.token.kind == "!":
                node = self.after(node)
            if self.token.kind == "^":
                self.advance()
                node = Pow(node, self.exponent())
            node = negate(node) if negative else node
        self.depth -= 1
        return node

    def primed(self, node: Node) -> Node:
        """A name with primes."""
        braces = self.token.kind == "{"
        if braces:
            self.advance()
        primes = 0
        while self.token.kind == "'":
            self.advance()
            primes += 1
        if braces:
            self.expect("}")
        if isinstance(node, Sym):
            return Sym(node.name + "'" * primes)
        if isinstance(node, Num) and primes <= 2:
            return Quantity(node, "'" * primes)  # feet and inches, or minutes and seconds
        return Func("primed", (node, Num(Fraction(primes))))

    def postfix(self) -> Node:
        """A primary with its postfixes."""
        return self.after(self.primary())

    def after(self, node: Node) -> Node:
        """The postfixes after a node."""
        while True:
            kind = self.token.kind
            if kind in _POSTFIXES:
                self.wrap()
            if kind == "!" and self.peek().text != "=":
                self.advance()
                if self.token.kind == "!" and not self.token.spaced:
                    self.advance()
                    node = Func("factorial2", (node,))
                else:
                    node = Func("factorial", (node,))
            elif kind == "%":
                self.advance()
                node = Percent(node)
            elif kind == "degree":
                self.advance()
                node = Degree(node)
            elif kind == "'":
                node = self.primed(node)
            elif kind == "_":
                node = self.subscript(node)
            elif kind == "currency":
                node = with_unit(node, self.advance().text)
            elif kind == "text" and not isinstance(node, Text):
                node = with_unit(node, self.unit())
            else:
                return node

    def unit(self) -> str:
        """A unit as written: words, powers and quotients."""
        parts = [self.advance().text]
        while True:
            kind = self.token.kind
            if kind == "text":
                parts.append(self.advance().text)
            elif kind == "^" and self.peek().kind in ("num", "{"):
                self.advance()
                power = self.argument()
                parts[-1] += f"^{power.value}" if isinstance(power, Num) else "^?"
            elif kind == "/" and self.peek().kind in ("text", "sym"):
                self.advance()
                parts[-1] += "/" + self.advance().text
            elif kind == "*" and self.peek().kind == "text":
                self.advance()
                parts[-1] += "*" + self.advance().text
            else:
                return " ".join(parts)

    def subscript(self, node: Node) -> Node:
        """An index in a name, or the base of a number."""
        index_from = self.at + 1
        self.advance()
        base_token = self.tokens[index_from - 2]
        self.deeper()
        if self.token.kind == "{":
            self.advance()
            start = self.at
            depth = 0
            while not (self.token.kind == "}" and depth == 0):
                if self.token.kind == "end of text":
                    raise ParseError("a subscript is never closed")
                depth += (self.token.kind == "{") - (self.token.kind == "}")
                self.advance()
            inside = self.tokens[start : self.at]
            self.advance()
        else:
            inside = [self.advance()]
        self.depth -= 1
        name = "".join(token.text for token in inside)
        if isinstance(node, Num) and base_token.kind == "num":
            base = int(name) if name.isdigit() and len(name) < 3 else _BASE_NAMES.get(name.lower())
            if base is None or not 2 <= base <= 36:
                raise ParseError(f"{name!r} is no number base")
            if base == 10:
                return node
            return Based(base_token.text, base)
        if isinstance(node, Sym):
            return Sym(f"{node.name}_{name}")
        if isinstance(node, Const):
            if node.name == "R" and name in _HALF_LINES:
                return _HALF_LINES[name]
            return Sym(f"{node.name}_{name}")
        if isinstance(node, Text):
            return Text(f"{node.words}_{name}")
        if isinstance(node, Num) and name.isdigit() and node.value.denominator == 1:
            return Based(str(node.value), int(name[:2]))
        return Func("indexed", (node, Sym(name)))
