"""Reading numbers: their separators, periods and exponents depend on what stands beside them."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from verifiers.syntax import Num
from verifiers.verdict import ParseError


class Token(NamedTuple):
    """A kind, its text, and whether space stands before it.

    Kinds: num, sym, const, func, cmd, text, sep, rel, or the character or command itself.
    """

    kind: str
    text: str
    spaced: bool


MAX_DIGITS = 4_000


MAX_TOKENS = 4_000


MAX_EXPONENT_DIGITS = 6


# A thousands separator that only typography explains, so that it counts inside brackets too.
_TYPESET = re.compile(r"(?: ?(?:,\\! ?|\{ ?,(?:\\!)? ?\}(?:\\!)? ?|\\[,!:;] ?|\\ |~)\d{3})+(?!\d)")


_COMMAS = re.compile(r"(?:,\d{3})+(?!\d|,\d)")


_INDIAN = re.compile(r"(?:,\d{2})+,\d{3}(?!\d|,\d)")


_APOSTROPHES = re.compile(r"(?:'\d{3})+(?!\d)")


_ORDINAL = re.compile(
    r"(?:\^\{?)?\s?(?:\\(?:text|mathrm|textrm)\{\s?)?(?:st|nd|rd|th)(?![a-zA-Z])\}{0,2}"
)


_SPACES = re.compile(r"(?: \d{3})+(?!\d| ?/)")


_FRACTIONAL = re.compile(r"\.\d+")


_SCIENTIFIC = re.compile(r"[eE]([-+]?\d{1,6})(?![\d.a-zA-Z])")


_REPEATING = re.compile(
    r"\\(?:overline|bar)\s*\{?\s*(?P<bar>\d{1,60})\s*\}?|\((?P<paren>\d{1,60})\)"
    r"|\\dot\s*\{?(?P<first>\d)\}?(?:(?P<inner>\d{0,60})\\dot\s*\{?(?P<last>\d)\}?)?"
)


_TRAILING_DOTS = re.compile(r"\s?(?:\.\.\.+|\\(?:ldots|dots|cdots)(?![a-zA-Z])|\\overline\{\})")


HEXADECIMAL = re.compile(r"(?=[0-9]*[A-F])([0-9A-F]{2,40})_\{?(1[1-6])\}?(?!\d)")


class Scanner:
    """The tokens read so far, and the rules for numbers."""

    def __init__(self, text: str, commas_separate: bool) -> None:
        self.text = text
        self.commas_separate = commas_separate
        self.tokens: list[Token] = []
        self.depth = 0

    def add(self, kind: str, text: str, spaced: bool) -> None:
        """Appends a token. Raises ParseError past the cap."""
        if len(self.tokens) >= MAX_TOKENS:
            raise ParseError(f"more than {MAX_TOKENS} tokens")
        self.tokens.append(Token(kind, text, spaced))

    def number(self, match: re.Match[str], spaced: bool, end: int) -> int:
        """Reads the number that `match` starts with; returns where it ends."""
        text, at = self.text, match.end()
        hexadecimal = HEXADECIMAL.match(text, match.start(), end)
        if hexadecimal:
            self.add("based", f"{hexadecimal.group(1)}_{hexadecimal.group(2)}", spaced)
            return hexadecimal.end()
        literal = match.group()
        if len(literal) <= 3 and literal.isdigit():
            grouped = self.thousands(literal, at, spaced, end)
            if grouped is not None:
                literal += "".join(c for c in text[at : grouped.end()] if c.isdigit())
                at = grouped.end()
                fraction = _FRACTIONAL.match(text, at, end)
                if fraction:
                    literal += fraction.group()
                    at = fraction.end()
        if len(literal) > MAX_DIGITS:
            raise ParseError(f"a number of {len(literal)} digits; at most {MAX_DIGITS} are read")
        if "." in literal:
            repeating = _REPEATING.match(text, at, end)
            if repeating:
                digits = "".join(group for group in repeating.groups() if group)
                self.add("num", f"{literal}r{digits}", spaced)
                return repeating.end()
            dots = _TRAILING_DOTS.match(text, at, end)
            if dots:
                period = _period(literal.partition(".")[2])
                self.add("num", f"{literal}r{period}" if period else literal, spaced)
                return dots.end()
        scientific = _SCIENTIFIC.match(text, at, end)
        if scientific and "r" not in literal:
            literal += f"e{scientific.group(1)}"
            at = scientific.end()
        self.add("num", literal, spaced)
        ordinal = _ORDINAL.match(text, at, end) if literal.isdigit() else None
        return ordinal.end() if ordinal else at

    def thousands(self, literal: str, at: int, spaced: bool, end: int) -> re.Match[str] | None:
        """The groups of three digits that follow, where they belong to one number."""
        found = _TYPESET.match(self.text, at, end)
        if found or self.commas_separate or self.depth > 0:
            return found
        after_comma = not spaced and len(self.tokens) > 1 and self.tokens[-1].text == ","
        if literal[0] != "0" and not (after_comma and self.tokens[-2].kind == "num"):
            for pattern in (_COMMAS, _INDIAN, _APOSTROPHES):
                found = pattern.match(self.text, at, end)
                if found:
                    return found
            if not (self.tokens and self.tokens[-1].kind == "num"):
                return _SPACES.match(self.text, at, end)
        return None


def _period(digits: str) -> str:
    """The period that trailing dots suggest: digits shown at least twice, thrice for one digit."""
    for length in range(1, len(digits) // 2 + 1):
        period = digits[-length:]
        shown = 3 if length == 1 else 2
        if len(digits) >= length * shown and digits.endswith(period * shown):
            return period
    return ""


def number(literal: str) -> Num:
    """The value of a number token: decimals, `r` before a period, `e` before an exponent."""
    mantissa, _, exponent = literal.partition("e")
    mantissa, _, period = mantissa.partition("r")
    whole, point, fraction = mantissa.partition(".")
    value = Fraction(int(whole or "0") * 10 ** len(fraction) + int(fraction or "0"))
    value /= 10 ** len(fraction)
    if period:
        value += Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fraction))
        return Num(value)
    if exponent:
        if len(exponent.lstrip("+-0")) > MAX_EXPONENT_DIGITS - 3:
            raise ParseError(f"exponent {exponent} is too large")
        power = int(exponent)
        value = value * 10**power if power >= 0 else value / 10**-power
    if not point and not exponent:
        return Num(value)
    return Num(value, len(fraction), len((whole + fraction).lstrip("0")))
