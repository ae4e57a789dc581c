"""Comparing what is not computed with: choices, words, times of day, ratios."""

from __future__ import annotations

from fractions import Fraction

from verifiers.comparing import Comparer, Verdict3, both
from verifiers.syntax import (
    Choice,
    Clock,
    Const,
    Div,
    Mul,
    Node,
    Num,
    Quantity,
    Ratio,
    Seq,
    Sym,
    Text,
)


class Wordings(Comparer):
    """The part of a comparison that reads words and marks."""

    def same_choice(self, c: Node, g: Node) -> Verdict3:
        """Letters of a choice, with or without the option they stand for."""
        if isinstance(c, Choice) and isinstance(g, Choice):
            return c.letter == g.letter
        choice, other = (c, g) if isinstance(c, Choice) else (g, c)
        if not isinstance(choice, Choice):
            return False
        if isinstance(other, Sym):
            return other.name == choice.letter
        if isinstance(other, Const | Quantity | Text) and choice.content is None:
            return isinstance(other, Const) and other.name == choice.letter.lower() == "i"
        if choice.content is None:
            return False
        return self.same(choice.content, g) if choice is c else self.same(c, choice.content)

    def same_word(self, c: Node, g: Node) -> Verdict3:
        """Words, and letters in a row that spell one."""
        if isinstance(c, Text) and isinstance(g, Text):
            return c.words.replace(" ", "") == g.words.replace(" ", "")
        text, other = (c, g) if isinstance(c, Text) else (g, c)
        if not isinstance(text, Text):
            return False
        letters = letters_of(other)
        return letters is not None and letters.lower() == text.words.replace(" ", "")

    def same_clock(self, c: Node, g: Node) -> Verdict3:
        """Times of day; a missing half of the day is filled in, a stated one must agree."""
        if isinstance(c, Clock) and isinstance(g, Clock):
            if (c.minute, c.second) != (g.minute, g.second):
                return False
            if c.half and g.half:
                return (c.hour, c.half) == (g.hour, g.half)
            if not c.half and not g.half:
                return c.hour == g.hour
            marked, plain = (c, g) if c.half else (g, c)
            hour = marked.hour % 12 + (12 if marked.half == "pm" else 0)
            return plain.hour in (hour, marked.hour)
        clock, other = (c, g) if isinstance(c, Clock) else (g, c)
        if not isinstance(clock, Clock):
            return False
        if isinstance(other, Ratio) and not clock.half and not clock.second:
            parts = (Num(Fraction(clock.hour)), Num(Fraction(clock.minute)))
            return self.each(parts, other.parts)
        if isinstance(other, Div) and not clock.half and not clock.second:
            return self.same(other, Div(Num(Fraction(clock.hour)), Num(Fraction(clock.minute))))
        return False

    def same_ratio(self, c: Node, g: Node) -> Verdict3:
        """Ratios up to a common factor."""
        if not (isinstance(c, Ratio) and isinstance(g, Ratio)):
            ratio, other = (c, g) if isinstance(c, Ratio) else (g, c)
            if isinstance(ratio, Ratio) and len(ratio.parts) == 2:
                quotient = Div(*ratio.parts)
                return self.same(quotient, other) if ratio is c else self.same(other, quotient)
            return False
        left, right = c.parts, g.parts
        if len(left) != len(right):
            return False
        verdict: Verdict3 = True
        for a, b in zip(left[1:], right[1:], strict=True):
            first = Mul((a, right[0]))
            second = Mul((b, left[0]))
            verdict = both(verdict, lambda x=first, y=second: self.same_scalar(x, y))  # type: ignore[misc]
        return verdict


def letters_of(node: Node) -> str | None:
    """The letters of a product such as `Bo`, read as a word."""
    if isinstance(node, Sym | Const):
        return node.name
    if isinstance(node, Mul):
        parts = [letters_of(item) for item in node.items]
        known = [part for part in parts if part is not None]
        return "".join(known) if len(known) == len(parts) else None
    return None


def choices_of(node: Node) -> frozenset[str] | None:
    """The letters of a choice of several options: `AC`, or `A, C`."""
    if isinstance(node, Seq):
        items = node.items if node.left == "" else ()
    else:
        items = node.items if isinstance(node, Mul) else ()
    names = [item.name for item in items if isinstance(item, Sym)]
    if len(names) != len(items) or len(names) < 2 or len(set(names)) != len(names):
        return None
    return frozenset(names) if all(name in "ABCDEFGH" for name in names) else None
