"""Deciding in process, without sympy, whether two answers are the same.

Everything here is bounded by the parser's and the normal form's caps, so no deadline is needed.
"""

from __future__ import annotations

import re

from verifiers.notations import notation
from verifiers.plain import value_of
from verifiers.policy import Policy
from verifiers.reading import european, opaque, read, read_gold
from verifiers.structure import Comparison
from verifiers.syntax import Node, Opaque, Seq
from verifiers.verdict import GoldError, ParseError

# Space between digits or letters can mean something: "1 0" is not 10.
_SPACE = re.compile(r"(?<![\w,])\s+|\s+(?![\w,])")
_ONE_DECIMAL = re.compile(r",\d(?!\d)")
_COMMA = re.compile(r"\d,\d")


def compare_cheap(candidate: str, gold: str, policy: Policy) -> bool | None:
    """True or False where the pair can be decided in process, None where it cannot.

    Raises ParseError for a candidate that cannot be read, GoldError for such a gold.
    """
    left, right = value_of(candidate), value_of(gold)
    if left is not None and right is not None:
        return left == right
    if _SPACE.sub("", candidate) == _SPACE.sub("", gold):
        return True
    wording = _wording(gold)
    if wording is not None and wording == _wording(candidate):
        return True
    try:
        return _compare_parsed(candidate, gold, policy)
    except RecursionError as error:
        # The caps leave room, unless the caller's own stack is nearly full.
        raise ParseError("nested too deep for the remaining stack") from error


def _wording(text: str) -> str | None:
    """The words of a sentence or name, None for anything with mathematics in it."""
    plain = _TEXT_MACRO.sub("", text).replace("{", "").replace("}", "").strip(" .$")
    if len(plain) > 400 or not _SENTENCE.fullmatch(plain) or not _LONG_WORD.search(plain):
        return None
    return " ".join(plain.lower().replace(",", " ").split())


_TEXT_MACRO = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mbox)\b")
_SENTENCE = re.compile(r"[A-Za-z0-9 ,.'\-]+")
_LONG_WORD = re.compile(r"[A-Za-z]{4}")


def _compare_parsed(candidate: str, gold: str, policy: Policy) -> bool | None:
    try:
        right_node = read_gold(gold)
    except ParseError as error:
        raise GoldError(gold, str(error)) from error
    if isinstance(right_node, Opaque):
        return opaque(candidate) == right_node
    try:
        left_node: Node | None = read(candidate)
        unread: ParseError | None = None
    except ParseError as error:
        left_node, unread = None, error
    same = None if left_node is None else _compare(left_node, right_node, policy)
    if same is not True:
        for other_left, other_right in _rereadings(candidate, gold, left_node, right_node):
            if _compare(other_left, other_right, policy) is True:
                return True
    if unread is not None:
        raise unread
    return same


def _compare(left: Node, right: Node, policy: Policy) -> bool | None:
    same = Comparison(policy).same(left, right)
    if policy.form == "gold" and same is not False:
        return notation(left) == notation(right)
    return same


def _rereadings(
    candidate: str, gold: str, left: Node | None, right: Node
) -> list[tuple[Node, Node]]:
    """Other readings of ambiguous commas: `1,22` as 1.22, and `100,200` as two numbers."""
    found: list[tuple[Node, Node]] = []
    for text, other, flipped in ((candidate, right, False), (gold, left, True)):
        if other is None or isinstance(other, Seq):
            continue
        decimal = european(text)
        if decimal is not None and flipped and _ONE_DECIMAL.search(text):
            continue  # a gold "0,4" is a list
        if decimal is not None:
            node = _read_or_none(decimal)
            if node is not None:
                found.append((other, node) if flipped else (node, other))
    if _COMMA.search(gold):
        left_list, right_list = _read_or_none(candidate, True), _read_or_none(gold, True)
        if left_list is not None and right_list is not None and isinstance(right_list, Seq):
            found.append((left_list, right_list))
    return found


def _read_or_none(text: str, commas_separate: bool = False) -> Node | None:
    try:
        return read(text, commas_separate)
    except ParseError:
        return None
