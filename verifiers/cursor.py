"""A position among tokens, and how deep the grammar has gone."""

from __future__ import annotations

from verifiers.numerals import Token
from verifiers.verdict import ParseError

MAX_DEPTH = 100


MAX_WRAPS = 150
"""Operations that nest without brackets: quotients in a row, postfixes, set operations."""

_END = Token("end of text", "", False)


class Cursor:
    """One pass over the tokens of an answer."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.token = tokens[0]
        self.depth = 0
        self.bars = 0
        self.in_builder = 0
        self.outward = 0
        self.wraps = 0
        self.integrals = 0

    def advance(self) -> Token:
        """Moves on; returns the token that was current."""
        token = self.token
        self.at += 1
        self.token = self.tokens[self.at] if self.at < len(self.tokens) else _END
        return token

    def peek(self, ahead: int = 1) -> Token:
        """The token `ahead` places on."""
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else _END

    def push_back(self, token: Token) -> None:
        """Puts a token before the current one."""
        self.at -= 1
        self.tokens[self.at] = token
        self.token = token

    def expect(self, *kinds: str) -> Token:
        """Moves over a token of one of these kinds. Raises ParseError at any other."""
        if self.token.kind not in kinds:
            wanted = " or ".join(kinds)
            raise ParseError(f"expected {wanted}, found {self.token.text or 'the end'!r}")
        return self.advance()

    def deeper(self) -> None:
        """Counts a level of nesting. Raises ParseError past the cap."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ParseError(f"nested deeper than {MAX_DEPTH}")

    def wrap(self) -> None:
        """Counts an operation that nests without brackets. Raises ParseError past the cap."""
        self.wraps += 1
        if self.wraps > MAX_WRAPS:
            raise ParseError(f"more than {MAX_WRAPS} nested operations")
