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
    is_part,
    mixed,
    negate,
    product_of,
    quotient,
    sum_of,
    with_unit,
)
from verifiers.lexer import tokenize
from verifiers.postfixes import Postfixes
from verifiers.syntax import (
    Add,
    Degree,
    Div,
    Func,
    Node,
    Num,
    Percent,
    PlusMinus,
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


ARC_PARTS = {"'": Num(Fraction(60)), "''": Num(Fraction(3600))}
"""Minutes and seconds of arc in a degree."""


_SET_OPERATORS = frozenset(("cup", "cap", "minus"))


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


class Parser(Postfixes):
    """Lists down to factors; postfixes and primaries are below."""

    def listed(self) -> Node:
        """A list, or its only item."""
        self.deeper()
        groups: list[list[Node]] = [[]]
        joint = ""
        semicolons = commas = False
        while self.token.kind in ("sep", "implies"):
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
            elif kind == "pmod" or self.opens_modulus():
                self.wrap()
                self.advance()
                if kind == "(":
                    self.advance()
                    modulus = self.listed()
                    self.expect(")")
                else:
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
            elif self.continues():
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
                share = factor.value if isinstance(factor, Percent) else factor
                if isinstance(factor, Text):
                    product = [with_unit(product_of(product), factor.words)]
                elif (
                    isinstance(last, Num)
                    and last.value.denominator == 1
                    and last.decimals is None
                    and isinstance(share, Div)
                    and token.text == "frac"
                    and is_part(share)
                ):
                    number = Num(mixed(last.value, quotient(share)))
                    product[-1] = Percent(number) if isinstance(factor, Percent) else number
                elif (
                    isinstance(last, Sym)
                    and isinstance(factor, Seq)
                    and (factor.left, factor.right) == ("(", ")")
                ):
                    product[-1] = Func(f"call {last.name}", factor.items)
                else:
                    product.append(factor)
                first = product[0]
                if unit in ARC_PARTS and len(product) == 2 and isinstance(first, Degree):
                    product = [Degree(Add((first.value, Div(product[1], ARC_PARTS[unit]))))]
                elif unit and len(product) == 2 and isinstance(first, Quantity):
                    product = [compound(first, product[1], unit)]
                elif unit:
                    product = [with_unit(product_of(product), unit)]
            else:
                break
        return product_of(product)

    def continues(self) -> bool:
        """Whether a factor follows without a sign of multiplication."""
        kind = self.token.kind
        if kind == "|":
            return not self.bars
        if kind == "[" and self.outward:
            return False
        return kind in _STARTS and not self.opens_modulus()

    def opens_modulus(self) -> bool:
        """Whether `(mod 7)` follows."""
        return self.token.kind == "(" and self.peek().kind == "mod"

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
