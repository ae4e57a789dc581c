r"""Reading `\boxed{...}` and `\fbox{...}`: the last complete box, and boxes side by side."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOX = re.compile(r"\\{1,2}(?:boxed|fbox|framebox)(?![a-zA-Z])[ \t]*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_MAX_GROUP = 64
_MAX_CONNECTOR = 48


@dataclass(frozen=True, slots=True)
class Boxes:
    """The last complete box, and the list it makes with the boxes beside it, if any.

    `joined` is None for a lone box. `explicit` tells boxes joined by words or commas (a list, and
    nothing else) from boxes that merely touch (a list, or a correction).
    """

    last: str
    joined: str | None
    explicit: bool
    end: int


@dataclass(frozen=True, slots=True)
class _Box:
    content: str
    start: int
    end: int


def last_group(text: str) -> Boxes | None:
    """The last complete box of `text` with its neighbours, or None where no box is complete."""
    found = _complete(text)
    if not found:
        return None
    last = found[-1]
    contents = [last.content]
    explicit = True
    joint = ", "
    right = last
    for left in reversed(found[-_MAX_GROUP:-1]):
        if left.end > right.start:
            break
        between = text[left.end : right.start]
        link = _link(between)
        if link is None:
            break
        explicit = explicit and link
        if link and between.rstrip(" $\\(").endswith("or"):
            joint = " or "
        contents.append(left.content)
        right = left
    if len(contents) == 1 or len(set(contents)) == 1:
        return Boxes(last.content, None, False, last.end)
    return Boxes(last.content, joint.join(reversed(contents)), explicit, last.end)


def _complete(text: str) -> list[_Box]:
    """The complete boxes that can matter, outermost ones, in order."""
    starts = [match.span() for match in _BOX.finditer(text)][-_MAX_GROUP:]
    found: list[_Box] = []
    reach = -1
    budget = 4 * len(text) + 1000
    for start, open_at in starts:
        if start < reach:
            continue  # inside the box before
        box = _read(text, start, open_at)
        # Unclosed boxes are each scanned to the end: few may do so before the text is hopeless.
        budget -= (box.end if box else len(text)) - start
        if budget < 0:
            break
        if box is not None and box.content.strip():
            found.append(box)
            reach = box.end
        elif box is not None:
            # An empty box retracts what stood before it.
            found.clear()
            reach = box.end
    return found


def _read(text: str, start: int, open_at: int) -> _Box | None:
    if open_at >= len(text):
        return None
    if text[open_at] != "{":
        return _bare(text, start, open_at)
    depth = 0
    for brace in _BRACE.finditer(text, open_at):
        kind = brace.group()
        if kind == "{":
            depth += 1
        elif kind == "}":
            depth -= 1
            if depth == 0:
                return _Box(text[open_at + 1 : brace.start()], start, brace.end())
    return None


_BARE = re.compile(r"\\[a-zA-Z]+(?:\{[^{}]*\}){0,3}|[^\s$\\{}.,;]+(?:\.\d+)?")


def _bare(text: str, start: int, open_at: int) -> _Box | None:
    """`\\boxed 5`: a box without braces holds what follows up to a space."""
    match = _BARE.match(text, open_at)
    return None if match is None else _Box(match.group(), start, match.end())


def is_empty(text: str) -> bool:
    """Whether the last box of the text is there, and empty."""
    starts = [match.end() for match in _BOX.finditer(text)]
    return bool(starts) and _EMPTY.match(text, starts[-1]) is not None


_EMPTY = re.compile(r"\{\s*\}")


def unclosed(text: str) -> str | None:
    """The content of a last box that is cut off before its closing brace, for golds only."""
    starts = [match.end() for match in _BOX.finditer(text)]
    if not starts or text[starts[-1] : starts[-1] + 1] != "{":
        return None
    return text[starts[-1] + 1 :].strip(" $}")


_NOISE = re.compile(r"\\(?:quad|qquad|text|textrm|mathrm|mbox|\s|[,;:!()\[\]])|[$\s{}~*]+")
_CORRECTION = re.compile(
    r"\b(?:no|not|wait|wrong|actually|incorrect|instead|but|so|then|therefore|thus|hence|sorry"
    r"|correct|mistake|error|oops|hmm|rather|next|first|gives?|get)\b",
    re.IGNORECASE,
)


_NAMED = re.compile(r"\s[A-Za-z](?:_\S{1,4}\s?)?(?:\([a-z]\))?\s?=$")


def _link(between: str) -> bool | None:
    """How two boxes are linked: True in words or commas, False by touching, None not at all."""
    if len(between) > _MAX_CONNECTOR * 4 or "\n\n" in between.strip(" $"):
        return None
    words = _NOISE.sub(" ", between).strip()
    if not words:
        return False
    words = _NAMED.sub("", words).strip()
    if len(words) > _MAX_CONNECTOR or _CORRECTION.search(words) or ". " in words:
        return None
    return True if words.endswith((",", ";", "and", "or", "&")) else None
