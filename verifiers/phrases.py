"""Finding an answer that is stated in words: "the final answer is ...", or the last math span."""

from __future__ import annotations

import re
from itertools import pairwise

from verifiers import mathspans

_ANCHOR = re.compile(
    r"(?:answer|result|(?:correct|right) (?:option|choice))"
    r"(?:\*\*|__)?[ \t]*(?:\([^()\n]{0,40}\)[ \t]*)?"
    r"(?:\bis\b|\bare\b|:|=|\bto the (?:problem|question) is\b)"
    r"|\banswer[ \t]*(?:\*\*|__)?[ \t]*\n|answer\*\*[ \t]*",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"I hope (?:it|this) is correct|I hope that (?:helps|is correct)", re.IGNORECASE
)
# A sentence ends at a full stop before space or at a line's end, never inside a number.
_SENTENCE_END = re.compile(r"[.!?](?=\s|\*|$)|\n")
_NUMBER = re.compile(r"[-+\u2212\u2013]?[$€£]?\d[\d,.]*(?:/\d+)?(?:\s?(?:%|\\%))?")
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


def first_anchor(text: str) -> int | None:
    """Where the text after the first answer phrase starts, or None."""
    match = _ANCHOR.search(text)
    return None if match is None else match.end()


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


def mathematical(text: str) -> str | None:
    """The last stated answer, where it has a digit or a math span: not "as shown above"."""
    start = None
    for match in _FINAL.finditer(text):
        start = match.end()
    found = None if start is None else clause(text[start:])
    if found is None or not (_DIGIT.search(found) or "\\" in found) or len(found) > 200:
        return None
    return None if _PROSE.search(found) else found


_FINAL = re.compile(r"final answer[ \t]*(?:\*\*)?[ \t]*(?:is|:)[ \t]*(?:\*\*)?", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_PROSE = re.compile(r"(?:\b[a-z]{2,}\b\s+){3}")


def clause(text: str) -> str | None:
    """The answer that `text` starts with: one clause, out of emphasis and delimiters."""
    text = text[:_LONGEST_CLAUSE].replace('\\"', "").lstrip(" \t\r\n:*_=}")
    text = _ADVERB.sub("", text)
    closing = _CLOSING.search(text)
    if closing:
        text = text[: closing.start()]
    spans = mathspans.spans(text)
    end = len(text)
    for stop in _SENTENCE_END.finditer(text):
        if not any(span.start < stop.start() < span.end for span in spans):
            end = stop.start()
            break
    text = _EMPHASIS.sub("", text[:end]).strip(' \t\r\n.,;:"')
    if text.endswith("$") and text.count("$") == 1:
        text = text[:-1]  # the phrase stood inside the formula
    aside = _ASIDE.search(text)
    if aside:
        text = text[: aside.start()]
    spans = mathspans.spans(text)
    if spans:
        outside = mathspans.without(text)
        if any(word.lower() not in _CONNECTIVE for word in _WORD.findall(outside)):
            text = _after_is(text)
            spans = mathspans.spans(text)
            if len(spans) == 1 and _WORD.search(text[: spans[0].start]):
                text = text[spans[0].start :]
    else:
        text = _after_is(text)
    text = unwrap(text.replace('\\"', "").strip())
    return text or None


_LONGEST_CLAUSE = 4_000
_ADVERB = re.compile(r"(?:(?:therefore|thus|hence|indeed|simply|just|exactly|then)\b[\s,]*)+")
# "12, not 13" and "12, as required"; what is doubted after a comma stays.
_ASIDE = re.compile(
    r"(?<=[\w$})]),\s+(?:not\s+(?=[\d$\\(-])|as (?:required|desired|expected|claimed|wanted)\b)"
)
_IS = re.compile(r"\b(?:is|are|equals|be)\b(?![^$]*\$[^$]*$)", re.IGNORECASE)


def _after_is(text: str) -> str:
    end = 0
    for match in _IS.finditer(text):
        end = match.end()
    rest = text[end:].strip()
    return rest if rest else text


_LEAD = re.compile(r"(?:therefore|thus|hence|so|and so|finally)\b[\s,:]*", re.IGNORECASE)


_FINDING = re.compile(
    r"(?:we|this|it|which|that)\s+(?:get|have|find|obtain|gives?|yields?)\b[\s:]*", re.IGNORECASE
)


def concluded(text: str) -> str:
    """A short answer without "therefore" before it, or the subject that it "is" said of."""
    text = _EMPHASIS.sub("", text) if "`" in text else text
    lead = _LEAD.match(text)
    if lead:
        text = text[lead.end() :]
    finding = _FINDING.match(text)
    if finding:
        text = text[finding.end() :]
    return _after_is(text) if _DIGIT.search(text) else text


_SPEAKER = re.compile(r"(?:I|I'm|We|Let|Sorry|It|There|This|That)\b\s+\w", re.IGNORECASE)


def is_bare(text: str) -> bool:
    """Whether the whole text can be an answer: math, or a few words, and no sentence."""
    if len(text) > _LONGEST_BARE or _SPEAKER.match(text):
        return False
    outside = mathspans.without(text)
    if outside != text:
        words = [w for w in _WORD.findall(outside) if w.lower() not in _CONNECTIVE]
        return not words
    return "$" not in text.replace("\\$", "") and len(_WORD.findall(text.split("\\")[0])) <= 3


_LONGEST_BARE = 2_000


def only_number(text: str) -> str | None:
    """The number of a clause that has just one, such as "she walked 3 hours"."""
    if len(text) > _LONGEST_BARE:
        return None
    numbers = list(_FREE_NUMBER.finditer(text))
    if len(numbers) != 1 or len(_WORD.findall(text[: numbers[0].start()])) < 2:
        return None
    alone = len(_DIGITS.findall(text)) == len(_DIGITS.findall(numbers[0].group()))
    unit = _NEXT_WORD.match(text, numbers[0].end())
    stated = numbers[0].group().strip(" .,$") + (unit.group() if unit else "")
    return stated if alone else None


_NEXT_WORD = re.compile(r" [A-Za-z]+")


_FREE_NUMBER = re.compile(
    r"(?<![\w\\{^_.,/*+=<>(\[|-])[-+]?[$]?\d[\d,.]*(?:/\d+)?(?![\w\\}^_/*+=<>)\]|-])"
)
_DIGITS = re.compile(r"\d+")


def last_math(text: str) -> str | None:
    """The last math span or number of the last sentence, where that sentence concludes.

    A sentence concludes where it says so ("thus", "we find", "is") or is all there is; one that
    expresses doubt about its last number does not.
    """
    tail = text.rstrip()[-_LONGEST_CLAUSE:]
    closing = _CLOSING.search(tail)
    if closing:
        tail = tail[: closing.start()].rstrip()
    spans = mathspans.spans(tail)
    ends = [
        stop.end()
        for stop in _SENTENCE_END.finditer(tail)
        if tail[stop.end() :].strip(" *.")
        and not any(span.start < stop.start() < span.end for span in spans)
    ]
    # A display with a full stop in it ends a sentence too.
    ends += [
        span.end
        for span in spans
        if span.inner.rstrip().endswith(".") and tail[span.end :].strip(" *.\n")
    ]
    start = max(ends, default=0)
    sentence = tail[start:]
    if start and not _CONCLUSION.search(sentence):
        return None
    inside = [span for span in spans if span.start >= start]
    if inside and not _DIGIT.search(inside[-1].inner):
        # "The value of $x$ is 5": the span is the subject, the number after it the answer.
        inside = inside if not _NUMBER.search(tail, inside[-1].end) else []
    if inside:
        before = tail[inside[-2].end if len(inside) > 1 else start : inside[-1].start]
        if _DOUBT.search(before) or _DOUBT.search(tail[inside[-1].end :]):
            return None
        if _SEVERAL.search(sentence):
            return _listed(tail, inside)
        return unwrap(inside[-1].inner)
    if "\\" in sentence and not inside:
        return _undelimited(sentence)
    numbers = list(_NUMBER.finditer(sentence))
    if not numbers:
        return None
    last = numbers[-1]
    before, after = sentence[: last.start()], sentence[last.end() :]
    since = before[numbers[-2].end() :] if len(numbers) > 1 else before
    if _DOUBT.search(since) or _DOUBT.search(after):
        return None
    if (
        _LABEL.search(before)
        or (before and before[-1] not in _BEFORE_NUMBER)
        or after.startswith(_AFTER_OPERATOR)
    ):
        return None
    if after[:1].isalpha() and len(after) > 3:
        return None
    return last.group().strip(" .,$")


def _listed(text: str, found: list[mathspans.Span]) -> str:
    """The last math span with those that commas or "and" join to it."""
    parts = [found[-1].inner.strip()]
    for left, right in pairwise(reversed(found)):
        if text[right.end : left.start].strip() not in (",", "and", ", and", "or"):
            break
        parts.append(right.inner.strip())
    return unwrap(", ".join(reversed(parts)))


_SEVERAL = re.compile(r"\b(?:solutions|roots|zeros|zeroes|values)\b[^$]{0,40}\bare\b")


def _undelimited(sentence: str) -> str | None:
    """Mathematics that ends a sentence without delimiters: "the ratio is \\frac{1}{2}."."""
    stated = _after_is(sentence.strip(" \t\r\n.*")).strip(" :")
    if stated == sentence.strip(" \t\r\n.*") or _DOUBT.search(sentence):
        return None
    prose = _COMMAND.sub(" ", stated)
    return None if _WORD.search(prose) else unwrap(stated)


_COMMAND = re.compile(r"\\(?:text|mathrm|mbox|textbf|operatorname)\{[^{}]*\}|\\[a-zA-Z]+")
# What is numbered, not counted.
_LABEL = re.compile(
    r"\b(?:step|case|part|problem|question|equation|figure|example|method|option)[ #]*\Z",
    re.IGNORECASE,
)
_BEFORE_NUMBER = " \t\n=:$*~\u2248\u20ac\u00a3"
_AFTER_OPERATOR = tuple("^_*/+=<>({[")
_CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|so|is|are|equals?|gives?|get|find|found|total|answer|result|must be"
    r"|increases|decreases|costs?|pays?|has|have|need(?:s|ed)?)\b|=|\\boxed",
    re.IGNORECASE,
)
