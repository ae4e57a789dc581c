"""An answer's text to its syntax: the readings that depend on the whole text, then the parser.

Times of day, letters of a multiple choice and plain words are told from mathematics here, since a
grammar for expressions cannot: `A. 12`, `8:34 p.m.`, `not a function`.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction

from verifiers import vocabulary
from verifiers.glyphs import to_latex
from verifiers.lexer import MAX_LENGTH, tokenize
from verifiers.numberwords import whole_number
from verifiers.parser import parse
from verifiers.syntax import Choice, Clock, Const, Node, Num, Opaque, Text
from verifiers.verdict import ParseError
from verifiers.wordlist import is_word

_DOUBLED = re.compile(r"\\\\(?=[a-zA-Z])")
_DELIMITERS = re.compile(r"\$\$?|\\\(|\\\)|\\\[|\\\]|\*\*")
_MARKUP = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|hbox|mathrm|mathbf|mathit|operatorname|emph)\b\*?"
    r"|\\[ ,;:!]|\\(?:quad|qquad|left|right|displaystyle|textstyle)\b|[{}~]"
)
_CLOCK = re.compile(
    r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*([ap])?(?:\.?\s?m\b\.?)?", re.IGNORECASE
)
_CHOICE = re.compile(r"\(?\s*([A-Z])\s*(?:\)\s*[.:]?|[.:]\s)\s*(.*)", re.DOTALL)
_OPERATOR = re.compile(r"[-+*/^_=<>,;|()\[\]!]|\\(?:cdot|times|cup|cap|le|ge|and|or)\b|and\b|or\b")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' \-]*")
_PHRASES = {
    "empty": [
        "no solution",
        "no solutions",
        "no real solution",
        "no real solutions",
        "there are no solutions",
        "there is no solution",
        "there are no real solutions",
        "empty set",
        "the empty set",
        "no solutions exist",
    ],
    "R": ["all real numbers", "all reals", "real numbers", "all real values", "the real numbers"],
}
_CONSTANT_PHRASES = {words: name for name, spellings in _PHRASES.items() for words in spellings}
_OPTION = re.compile(r"(?:option|choice|answer)\s*:?\s*(\(?[A-Z]\)?)", re.IGNORECASE)


def read(text: str, commas_separate: bool = False) -> Node:
    """The syntax of an answer. Raises ParseError."""
    # Long texts seldom come twice, and thousands of them would fill the memory.
    return (_remembered if len(text) <= _SHORT else _read)(text, commas_separate)


_SHORT = 200


def _read(text: str, commas_separate: bool) -> Node:
    if len(text) > MAX_LENGTH:
        raise ParseError(f"{len(text)} characters; an answer has at most {MAX_LENGTH}")
    text = _cleaned(text)
    if not text:
        raise ParseError("nothing to read")
    return _special(text) or parse(text, commas_separate=commas_separate)


_remembered = functools.lru_cache(maxsize=16_384)(_read)


def read_gold(text: str, commas_separate: bool = False) -> Node:
    """As `read`; what the grammar does not know is kept as its tokens."""
    try:
        return read(text, commas_separate)
    except ParseError:
        return opaque(text)


def opaque(text: str) -> Opaque:
    """The bare tokens of a text. Raises ParseError where there are none."""
    tokens = tokenize(_cleaned(text))
    if not tokens:
        raise ParseError("nothing to read")
    kinds = [token.kind for token in tokens]
    if kinds.count("{") != kinds.count("}"):
        raise ParseError("braces that do not match")
    return Opaque(tuple(token.text for token in tokens))


def _cleaned(text: str) -> str:
    text = to_latex(text)
    if "\\\\" in text and ("begin" not in text or "\\\\begin" in text):
        text = _DOUBLED.sub("\\\\", text)
    if "$" in text or "\\(" in text or "\\[" in text or "**" in text:
        text = _undelimited(text)
    text = _STATEMENT.sub("", text.strip(' \t\r\n"`'))
    if "all" in text and "=" in text:
        text = _FOR_ALL.sub("", text)
    if not text.endswith("..."):
        text = _TRAILING.sub("", text)
    while text.startswith(("=", ":", "\\approx")):
        text = text.removeprefix("\\approx").lstrip("=: ")
    return text


def _undelimited(text: str) -> str:
    """Without math delimiters; a dollar sign before a lone number is a currency."""
    kept = text.replace("\\$", "\\textdollar ")
    bold = kept.strip()
    if bold.startswith("**") or bold.endswith("**"):
        kept = bold.strip("*")
    kept = kept.replace("\\right\\]", "\\right]")
    return kept.replace("\\left\\[", "\\left[").replace("$", " ")


def _special(text: str) -> Node | None:
    plain = " ".join(_MARKUP.sub(" ", text).split()) if len(text) < 400 else text
    clock = (
        _clock(plain.replace(" :", ":").replace(": ", ":"))
        if plain[:1].isdigit() and len(plain) < 30
        else None
    )
    if clock is not None:
        return clock
    option = _OPTION.fullmatch(plain)
    if option is not None:
        plain = option.group(1)
        if plain[0] != "(":
            return Choice(plain, None)
    if plain[:1] == "(" or plain[1:2] in (")", ".", ":"):
        choice = _choice(plain)
        if choice is not None:
            return choice
    if _WORDS.fullmatch(plain):
        return _text(plain)
    return None


def _clock(plain: str) -> Clock | None:
    match = _CLOCK.fullmatch(plain)
    if match is None or (match.group(2) is None and match.group(4) is None):
        return None
    if match.group(4) and "m" not in plain.lower():
        return None
    hour, minute, second = (int(part or "0") for part in match.groups()[:3])
    half = {"a": "am", "p": "pm"}.get((match.group(4) or "").lower(), "")
    if hour > 24 or minute > 59 or second > 59 or (half and not 1 <= hour <= 12):
        return None
    return Clock(hour, minute, second, half)


def _choice(plain: str) -> Node | None:
    match = _CHOICE.fullmatch(plain)
    if match is None:
        return None
    letter, content = match.group(1), match.group(2).strip()
    if not content:
        return Choice(letter, None)
    if letter > "J" or _OPERATOR.match(content):
        return None
    try:
        return Choice(letter, read(content))
    except ParseError:
        return Choice(letter, None)


def _text(plain: str) -> Node | None:
    words = plain.split()
    number = whole_number(plain.lower().replace("-", " ").split())
    if number is not None:
        return Num(Fraction(number))
    if any(
        word in vocabulary.FUNCTIONS
        or word.lower() in ("and", "or", "pi", "infinity", "sqrt", "inf", "oo")
        for word in words
    ):
        return None
    # Letters such as "Bo" can be a product; several words of them are a name.
    name = len(words) >= 2 and any(len(word) > 1 for word in words)
    if not name and not any(is_word(word) for word in words):
        return None
    if plain.lower() in _CONSTANT_PHRASES:
        return Const(_CONSTANT_PHRASES[plain.lower()])
    from verifiers.building import words_of

    return Text(words_of(plain))


_FOR_ALL = re.compile(
    r"(?<=[\w})])[\s,~]*(?:\\q?quad\s*)?(?:\\forall\b|\\text\{\s*for all\b|for all\b)[^=<>]{0,60}\Z"
)
_TRAILING = re.compile(r"(?:\\[,;:!]|[.,;]|\s)+\Z|\\\Z")
_STATEMENT = re.compile(
    r"\\(?:text|textbf|mathrm|mbox)\{\s*(?:(?:the|so|final|correct)\s+)*(?:answer|result)s?"
    r"(?:\s+(?:is|are)|\s*:)[\s:]*\}\s*",
    re.IGNORECASE,
)


_EUROPEAN = re.compile(
    r"(\D*?)(-?)(?:(\d{1,3}(?:\.\d{3})+),(\d+)|(\d+),(\d+)|(\d{1,3}(?:\.\d{3})+))(\D*)"
)


def european(text: str) -> str | None:
    """`text` with a comma for the decimal point rewritten, where all of it is one such number."""
    if len(text) > 60 or ("," not in text and text.count(".") < 1):
        return None
    match = _EUROPEAN.fullmatch(to_latex(text).strip().replace("{,}", ","))
    if match is None:
        return None
    before, sign, whole, part, simple, fraction, grouped, after = match.groups()
    if any(c in "()[]<>=" for c in before + after):
        return None
    if simple and len(fraction) == 3 and len(simple) <= 3 and simple.strip("0"):
        return None  # a thousands separator
    if grouped:
        return (
            f"{before}{sign}{grouped.replace('.', '')}{after}" if grouped.count(".") > 1 else None
        )
    if not (part or fraction).strip("0"):
        return None  # "4,0" is rather two numbers than a whole one
    digits = (whole or simple).replace(".", "")
    return f"{before}{sign}{digits}.{part or fraction}{after}"
