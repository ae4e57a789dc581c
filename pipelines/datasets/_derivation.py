"""What is left to compute in an arithmetic problem, and whether a line computes a part of it.

A problem is a row of *blocks*, each a sum of signed terms and of boxes still to be multiplied out;
between two blocks stands a factor ("times"). The block in front is the value so far and what is
added to it before the next factor:

    "has 18. wins 5. buys 2 boxes of 4. has 3 times as many. loses 7."
    block (+18 +5 and a box 2*4), factor 3, block (-7)

A line is right if it does one of these: multiplies out a box, joins two terms of one block, or
multiplies a finished first block by its factor. So steps may come in any order that is right, and
each number is used once. A line can be right in several ways (two equal terms), so a text so far
stands for a set of states.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_LINE = re.compile(r"([0-9]{1,6})([-+*])([0-9]{1,6})=([0-9]{1,6})")
_LONGEST = 64
"""No line longer than this is right, so no more of one is looked at."""


@dataclass(frozen=True, slots=True)
class Block:
    """A sum: signed `terms`, and `boxes` (how many, in each). Both sorted: order means nothing."""

    terms: tuple[int, ...]
    boxes: tuple[tuple[int, int], ...] = ()

    def without(self, *taken: int) -> list[int]:
        """Return the terms left when some are taken out."""
        left = list(self.terms)
        for term in taken:
            left.remove(term)
        return left


@dataclass(frozen=True, slots=True)
class State:
    """The blocks that are left and the factors between them: one factor fewer than blocks."""

    blocks: tuple[Block, ...]
    factors: tuple[int, ...]

    @property
    def value(self) -> int | None:
        """The answer, once all is computed."""
        if self.factors or self.blocks[0].boxes or len(self.blocks[0].terms) != 1:
            return None
        return self.blocks[0].terms[0]

    def after(self, line: str) -> Iterator[State]:
        """Yield the states that a line leads to: none if it is wrong or leads nowhere."""
        match = _LINE.fullmatch(line)
        if match is None:
            return
        left, sign, right, result = int(match[1]), match[2], int(match[3]), int(match[4])
        for number, block in enumerate(self.blocks):
            for changed in _inside(block, left, sign, right, result):
                blocks = (*self.blocks[:number], changed, *self.blocks[number + 1 :])
                yield replace(self, blocks=blocks)
        first = self.blocks[0]
        finished = self.factors and not first.boxes and len(first.terms) == 1
        if finished and sign == "*" and left * right == result:
            value, factor = first.terms[0], self.factors[0]
            if (left, right) in ((value, factor), (factor, value)):
                second = self.blocks[1]
                carried = replace(second, terms=tuple(sorted((*second.terms, result))))
                yield State((carried, *self.blocks[2:]), self.factors[1:])


def _inside(block: Block, left: int, sign: str, right: int, result: int) -> Iterator[Block]:
    """Yield the blocks that a correct line `left sign right = result` makes of one block."""
    if sign == "*" and left * right == result:
        for box in {(left, right), (right, left)} & set(block.boxes):
            boxes = list(block.boxes)
            boxes.remove(box)
            yield Block(tuple(sorted((*block.terms, result))), tuple(boxes))
    if sign == "+" and left + right == result:
        # Two gains make one gain, two losses one loss.
        for one, other in ((left, right), (-left, -right)):
            if _has(block, one, other):
                rest = block.without(one, other)
                yield replace(block, terms=tuple(sorted((*rest, one + other))))
    if sign == "-" and left - right == result and _has(block, left, -right):
        yield replace(block, terms=tuple(sorted((*block.without(left, -right), result))))


def _has(block: Block, one: int, other: int) -> bool:
    needed = 2 if one == other else 1
    return block.terms.count(one) >= needed and block.terms.count(other) >= needed


def right_prefixes(start: State, text: str, ends: tuple[int, ...]) -> list[bool]:
    """Say for each end whether the text up to it is a right derivation so far.

    A text so far consists of whole right lines, perhaps the answer's line `#### n` at last; the
    empty one and one with an empty line have a step that computes nothing, and are wrong. An end
    at the end of the text stands for the whole solution: right only with the answer's line.
    """
    verdicts = []
    so_far = _SoFar(frozenset({start}))
    line_start = 0
    for end in ends:
        while so_far.states and (newline := text.find("\n", line_start, end)) >= 0:
            so_far = so_far.read(text[line_start : min(newline, line_start + _LONGEST)])
            line_start = newline + 1
        at_end = so_far
        if line_start == 0 or line_start < end:
            at_end = so_far.read(text[line_start : min(end, line_start + _LONGEST)])
        verdicts.append(bool(at_end.states) and (at_end.answered or end < len(text)))
    return verdicts


@dataclass(frozen=True, slots=True)
class _SoFar:
    """The states that a text so far may stand for: none once a line was wrong."""

    states: frozenset[State]
    answered: bool = False

    def read(self, line: str) -> _SoFar:
        if self.answered:
            return _SoFar(frozenset(), True)
        if line.startswith("####"):
            right = {state for state in self.states if line == f"#### {state.value}"}
            return _SoFar(frozenset(right), True)
        return _SoFar(frozenset(itertools.chain(*(state.after(line) for state in self.states))))
