"""Finding an answer that is stated in words: "the final answer is ...", or the last math span."""

from __future__ import annotations

import re

_ANCHOR = re.compile(
    r"(?:answer|result)(?:\*\*|__)?[ \t]*(?:\([^()\n]{0,40}\)[ \t]*)?"
    r"(?:\bis\b|\bare\b|:|=|\bto the (?:problem|question) is\b)"
    r"|\banswer[ \t]*(?:\*\*|__)?[ \t]*\n|answer\*\*[ \t]*",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"I hope (?:it|this) is correct|I hope that (?:helps|is correct)", re.IGNORECASE
)
# A sentence ends at a full stop before space or at a line's end, never inside a number.
_SENTENCE_END = re.compile(r"[.!?](?=\s|\*|$)|\n")
_MATH = re.compile(
    r"\$\$(?P<dd>[^$]+)\$\$|\$(?P<d>(?:[^$\\]|\\.)+)\$|\\\((?P<p>(?:[^\\]|\\[^)])*)\\\)"
    r"|\\\[(?P<b>(?:[^\\]|\\[^\]])*)\\\]",
    re.DOTALL,
)
_NUMBER = re.compile(r"[-+\u2212\u2013]?[$€£]?\d[\d,.]*(?:/\d+)?\s?(?:%|\\%)?")
_WORD = re.compile(r"[A-Za-z]{2,}")
_CONNECTIVE = frozenset(
    ("and", "or", "percent", "percentage", "pct", "if", "for", "is", "are", "equals")
)
_DOUBT = re.compile(
    r"\b(?:not|n't|cannot|can't|either|might|maybe|perhaps|unsure|unknown|don't know|do not know"
    r"|not sure|unclear|impossible to|wrong|incorrect|guess)\b",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"\*\*|__|`")


def last_anchor(text: str) -> int | None:
    """Where the text after the last answer phrase starts, or None."""
    end = None
    for match in _ANCHOR.finditer(text):
        end = match.end()
    return end


def unwrap(text: str) -> str:
    """`text` without the spaces, emphasis and math delimiters that enclose all of it."""
    text = text.strip()
    for _ in range(4):
        before = text
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**")):
            inner = text[len(left) : len(text) - len(right)]
            if (
                len(text) >= len(left) + len(right)
                and text.startswith(left)
                and text.endswith(right)
                and left not in inner
                and not inner.endswith("\\")
            ):
                text = inner.strip()
                break
        if text == before:
            break
    return text


def last_answer(text: str) -> str | None:
    """The answer after the last answer phrase, None without a phrase or with nothing after."""
    start = last_anchor(text)
    if start is None:
        return None
    return clause(text[start:])


def clause(text: str) -> str | None:
    """The answer that `text` starts with: one clause, out of emphasis and delimiters."""
    text = text[:_LONGEST_CLAUSE].lstrip(" \t\r\n:*_=")
    closing = _CLOSING.search(text)
    if closing:
        text = text[: closing.start()]
    spans = list(_MATH.finditer(text))
    end = len(text)
    for stop in _SENTENCE_END.finditer(text):
        if not any(span.start() < stop.start() < span.end() for span in spans):
            end = stop.start()
            break
    text = _EMPHASIS.sub("", text[:end]).strip(" \t\r\n.,;:")
    spans = list(_MATH.finditer(text))
    if spans:
        outside = _MATH.sub(" ", text)
        if any(word.lower() not in _CONNECTIVE for word in _WORD.findall(outside)):
            text = _after_is(text)
            spans = list(_MATH.finditer(text))
            if len(spans) == 1 and _WORD.search(text[: spans[0].start()]):
                text = text[spans[0].start() :]
    else:
        text = _after_is(text)
    text = unwrap(text)
    return text or None


_LONGEST_CLAUSE = 4_000
_IS = re.compile(r"\b(?:is|are|equals|be)\b(?![^$]*\$[^$]*$)", re.IGNORECASE)


def _after_is(text: str) -> str:
    end = 0
    for match in _IS.finditer(text):
        end = match.end()
    rest = text[end:].strip()
    return rest if rest else text


def is_bare(text: str) -> bool:
    """Whether the whole text can be an answer: math, or a few words, and no sentence."""
    if len(text) > _LONGEST_BARE:
        return False
    outside = _MATH.sub(" ", text)
    if outside != text:
        words = [w for w in _WORD.findall(outside) if w.lower() not in _CONNECTIVE]
        return not words
    return "$" not in text.replace("\\$", "") and len(_WORD.findall(text.split("\\")[0])) <= 3


_LONGEST_BARE = 2_000


def last_math(text: str) -> str | None:
    """The last math span or number in the last sentence, unless the sentence expresses doubt."""
    tail = text.rstrip()[-_LONGEST_CLAUSE:]
    spans = list(_MATH.finditer(tail))
    ends = [
        stop.end()
        for stop in _SENTENCE_END.finditer(tail)
        if stop.end() < len(tail) - 1
        and not any(span.start() < stop.start() < span.end() for span in spans)
    ]
    start = ends[-1] if ends else 0
    sentence = tail[start:]
    if _DOUBT.search(sentence.rpartition(" is ")[2]):
        return None
    inside = [span for span in spans if span.start() >= start]
    if inside:
        return unwrap(inside[-1].group())
    numbers = list(_NUMBER.finditer(sentence))
    if not numbers:
        return None
    last = numbers[-1]
    before, after = sentence[: last.start()], sentence[last.end() :]
    if (before[-1:].isalpha() and before[-1:].isascii()) or (
        after[:1].isalpha() and len(after) > 3
    ):
        return None
    return last.group().strip(" .,$")
