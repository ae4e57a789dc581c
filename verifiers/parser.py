"""Tokens to syntax: a recursive-descent parser, capped in depth.

answer    = list
list      = relation (("," | ";" | "and" | "or") relation)*
relation  = ratio (("=" | "<" | "in" | ...) ratio)*
ratio     = set (":" set)*
set       = sum (("cup" | "cap" | "minus") sum)*
sum       = term (("+" | "-" | "±") term)*
term      = factor (("*" | "/" | nothing) factor)*
factor    = ("+" | "-")* power
power     = postfix ("^" factor)?
postfix   = primary ("!" | "%" | "°" | unit | "_" subscript)*
"""

from __future__ import annotations

from fractions import Fraction

from verifiers.building import (
    compound,
    divide,
    is_proper,
    mixed,
    negate,
    product_of,
    quotient,
    sum_of,
    with_unit,
)
from verifiers.lexer import tokenize
from verifiers.primaries import Primaries
from verifiers.syntax import (
    Add,
    Based,
    Const,
    Degree,
    Div,
    Func,
    Node,
    Num,
    Percent,
    PlusMinus,
    Pow,
    Quantity,
    Ratio,
    Relation,
    Seq,
    SetOf,
    Sym,
    Text,
)
from verifiers.verdict import ParseError

_STARTS = frozenset(
    [
        "num",
        "sym",
        "const",
        "func",
        "cmd",
        "(",
        "[",
        "set{",
        "{",
        "accent",
        "big",
        "begin",
        "based",
        "text",
        "lfloor",
        "lceil",
        "langle",
        "lbar",
        "currency",
        "dots",
    ]
)


_SET_OPERATORS = frozenset(("cup", "cap", "minus"))


_POSTFIXES = frozenset(("!", "%", "degree", "'", "_", "currency", "text"))


def parse(text: str, *, commas_separate: bool = False) -> Node:
    """The syntax of an answer.

    Raises ParseError where the text is no answer that the grammar knows, or over the caps.
    """
    tokens = tokenize(text, commas_separate=commas_separate)
    while tokens and tokens[-1].kind in (".", "newline", "?", "sep"):
        tokens.pop()
    if not tokens:
        raise ParseError("nothing to read")
    parser = Parser(tokens)
    node = parser.listed()
    if parser.token.kind != "end of text":
        raise ParseError(f"unexpected {parser.token.text!r}")
    return node


class Parser(Primaries):
    """Lists down to postfixes; the primaries are below."""

    def listed(self) -> Node:
        """A list, or its only item."""
        self.deeper()
        groups: list[list[Node]] = [[]]
        joint = ""
        semicolons = commas = False
        while self.token.kind == "sep":
            self.advance()
        groups[-1].append(self.relation())
        while self.token.kind in ("sep", "implies"):
            if self.token.kind == "implies":
                # What is implied replaces what implies it.
                self.advance()
                groups[-1].pop()
                groups[-1].append(self.relation())
                continue
            separators = []
            while self.token.kind == "sep":
                separators.append(self.advance().text)
            if self.token.kind in (")", "]", "set}", "}", "end of text", "newline", "end"):
                break
            for separator in separators:
                if separator in ("and", "or", "land", "lor", "wedge", "vee"):
                    joint = "or" if separator in ("or", "lor", "vee") else joint or "and"
            if ";" in separators:
                semicolons = True
                groups.append([])
            else:
                commas = True
            groups[-1].append(self.relation())
        self.depth -= 1
        if semicolons and commas:
            return Seq(
                "",
                tuple(g[0] if len(g) == 1 else Seq("", tuple(g), "") for g in groups),
                "",
                "nested",
            )
        items = [item for group in groups for item in group]
        return items[0] if len(items) == 1 else Seq("", tuple(items), "", joint)

    def relation(self) -> Node:
        """A chain of relations, or its only side."""
        sides = [self.ratio()]
        operators: list[str] = []
        while True:
            token = self.token
            if token.kind == "rel":
                self.advance()
                operators.append(token.text)
            elif token.kind == "not" and self.peek().kind == "rel":
                self.advance()
                inner = self.advance().text
                operators.append({"=": "!=", "in": "notin"}.get(inner, "not " + inner))
            elif token.kind == "!" and self.peek().text == "=":
                self.advance()
                self.advance()
                operators.append("!=")
            else:
                break
            if operators[-1] in ("<", ">") and self.token.text == "=" and not self.token.spaced:
                self.advance()
                operators[-1] += "="
            sides.append(self.ratio())
        if not operators:
            return sides[0]
        return Relation(tuple(operators), tuple(sides))

    def ratio(self) -> Node:
        """Parts joined by colons."""
        parts = [self.united()]
        while self.token.kind == ":" and not self.in_builder:
            self.advance()
            parts.append(self.united())
        return parts[0] if len(parts) == 1 else Ratio(tuple(parts))

    def united(self) -> Node:
        """Sets joined by set operations."""
        left = self.added()
        while self.token.kind in _SET_OPERATORS:
            self.wrap()
            operator = self.advance().kind
            left = SetOf(operator, left, self.added())
        return left

    def added(self) -> Node:
        """A sum, or its only term."""
        self.deeper()
        items: list[Node] = []
        if self.token.kind in ("pm", "mp"):
            plus_first = self.advance().kind == "pm"
            items.append(PlusMinus(None, self.term(), plus_first))
        else:
            items.append(self.term())
        while True:
            kind = self.token.kind
            if kind == "+":
                self.advance()
                items.append(self.term())
            elif kind == "-":
                self.advance()
                items.append(negate(self.term()))
            elif kind in ("pm", "mp"):
                self.wrap()
                self.advance()
                left = items[0] if len(items) == 1 else Add(tuple(items))
                items = [PlusMinus(left, self.term(), kind == "pm")]
            elif kind == "pmod":
                self.wrap()
                self.advance()
                modulus = self.argument()
                items = [Func("pmod", (sum_of(items), modulus))]
            else:
                break
        self.depth -= 1
        return sum_of(items)

    def term(self) -> Node:
        """A product, or its only factor."""
        product: list[Node] = [self.factor()]
        while True:
            token = self.token
            kind = token.kind
            if kind == "*":
                self.advance()
                product.append(self.factor())
            elif kind == "/":
                self.wrap()
                self.advance()
                bottom = self.factor()
                product = [divide(product_of(product), bottom)]
            elif kind == "mod":
                self.wrap()
                self.advance()
                product = [Func("mod", (product_of(product), self.factor()))]
            elif kind in ("over", "choose"):
                self.advance()
                bottom = self.added()
                top = product_of(product)
                return Div(top, bottom) if kind == "over" else Func("binom", (top, bottom))
            elif (kind in _STARTS and not (kind == "[" and self.outward)) or (
                kind == "|" and not self.bars
            ):
                if kind == "num":
                    whole_and_part = self.plain_mixed(product)
                    if whole_and_part is not None:
                        product[-1] = whole_and_part
                        continue
                    if isinstance(product[-1], Num) and self.tokens[self.at - 1].kind == "num":
                        raise ParseError("two numbers side by side")
                last = product[-1]
                factor = self.power()
                unit = ""
                if isinstance(factor, Quantity):
                    unit = factor.unit
                    factor = factor.value
                if isinstance(factor, Text):
                    product = [with_unit(product_of(product), factor.words)]
                elif (
                    isinstance(last, Num)
                    and last.value.denominator == 1
                    and last.decimals is None
                    and isinstance(factor, Div)
                    and token.text == "frac"
                    and is_proper(factor)
                ):
                    product[-1] = Num(mixed(last.value, quotient(factor)))
                elif (
                    isinstance(last, Sym)
                    and isinstance(factor, Seq)
                    and (factor.left, factor.right) == ("(", ")")
                ):
                    product[-1] = Func(f"call {last.name}", factor.items)
                else:
                    product.append(factor)
                first = product[0]
                if unit and len(product) == 2 and isinstance(first, Quantity):
                    product = [compound(first, product[1], unit)]
                elif unit:
                    product = [with_unit(product_of(product), unit)]
            else:
                break
        return product_of(product)

    def plain_mixed(self, product: list[Node]) -> Node | None:
        """`3 1/2` after the 3: a whole number, a space, and a fraction of whole numbers."""
        whole = product[-1]
        if (
            isinstance(whole, Num)
            and whole.value.denominator == 1
            and whole.decimals is None
            and self.token.spaced
            and self.token.text.isdigit()
            and self.peek().kind == "/"
            and self.peek(2).kind == "num"
            and self.peek(2).text.isdigit()
        ):
            top = int(self.advance().text)
            self.advance()
            bottom = int(self.advance().text)
            if bottom == 0:
                raise ParseError("a fraction over zero")
            return Num(mixed(whole.value, Fraction(top, bottom)))
        return None

    def factor(self) -> Node:
        """A signed power."""
        negative = False
        while self.token.kind in ("-", "+"):
            negative ^= self.advance().kind == "-"
        node = self.power()
        return negate(node) if negative else node

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
            if self.token.kind == "'" or (self.token.kind == "{" and self.peek().kind == "'"):
                node = self.primed(node)
                continue
            exponent = self.exponent()
            if self.token.kind == "_" and isinstance(node, Sym):
                node = self.subscript(node)
            node = self.after(Pow(node, exponent))
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
            return Based(base_token.text, base)
        if isinstance(node, Sym):
            return Sym(f"{node.name}_{name}")
        if isinstance(node, Const):
            return Sym(f"{node.name}_{name}")
        if isinstance(node, Text):
            return Text(f"{node.words}_{name}")
        if isinstance(node, Num) and name.isdigit() and node.value.denominator == 1:
            return Based(str(node.value), int(name[:2]))
        return Func("indexed", (node, Sym(name)))


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
