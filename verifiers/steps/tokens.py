r"""Cutting a worked solution into tokens: numbers, operators, units and the places where sums end.

One pass with one pattern whose alternatives hold no nested repetition, so the scan is linear in the
length of the text. Plain text and LaTeX go through the same pattern: `\times`, `*`, `x` between two
numbers and the sign itself are one token.
"""

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass


class Kind(enum.Enum):
    """What a token is for the step checker."""

    NUMBER = "number"
    OPERATOR = "operator"
    OPEN = "open"
    CLOSE = "close"
    EQUALS = "equals"
    APPROXIMATES = "approximates"
    UNEQUAL = "unequal"
    FUNCTION = "function"
    PERCENT = "percent"
    DEGREE = "degree"
    CURRENCY = "currency"
    BANG = "bang"
    COMMA = "comma"
    WORD = "word"
    TEXT = "text"
    MARK = "mark"
    LINE = "line"
    STOP = "stop"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `text` is its canonical form, `spaced` whether space stands before it."""

    kind: Kind
    text: str
    start: int
    end: int
    spaced: bool


_PATTERN = re.compile(
    r"""
      (?P<mark><<[^<>\n]{0,300}>>)
    | (?P<environment>\\(?:begin|end)\ ?\{[A-Za-z]{1,20}\*?\})
    | (?P<number>(?:\d{1,3}(?:(?:,(?:\\!)?|\{,\}|\\,)\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
    | (?P<line>\n|\\\\)
    | (?P<space>[^\S\n]+|~|&|\\[,;:!\ ])
    | (?P<stop>={1,3}>|<=|>=|:=|->|\\[\[\]()])
    | (?P<unequal>!=|≠)
    | (?P<equals>={1,2}|\uff1d)
    | (?P<approximates>≈|≃)
    | (?P<operator>\*\*|//|[-+*/^÷\u00d7·∙⋅\u2212\u2013\u2217\u2215])
    | (?P<open>[(\[{])
    | (?P<close>[)\]}])
    | (?P<escaped>\\[$%\#_|])
    | (?P<command>\\[A-Za-z]+)
    | (?P<superscript>[⁰¹²³⁴⁵⁶⁷⁸⁹]+)
    | (?P<vulgar>[½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])
    | (?P<percent>%)
    | (?P<degree>°)
    | (?P<currency>[$€£¥₹])
    | (?P<dots>\.{2,}|…)
    | (?P<bang>!)
    | (?P<comma>,)
    | (?P<word>[^\W\d_]+(?:['\u2019-][^\W\d_]+)*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def word_set(text: str) -> frozenset[str]:
    """The words of a text, for looking words up."""
    return frozenset(text.split())


_OPERATORS = {
    "**": "^", "÷": "/", "\u2215": "/", "\u00d7": "*", "·": "*", "∙": "*", "⋅": "*", "\u2217": "*",
    "\u2212": "-", "\u2013": "-",
}  # fmt: skip
_COMMANDS = {
    "times": (Kind.OPERATOR, "*"),
    "cdot": (Kind.OPERATOR, "*"),
    "ast": (Kind.OPERATOR, "*"),
    "div": (Kind.OPERATOR, "/"),
    "frac": (Kind.FUNCTION, "frac"),
    "dfrac": (Kind.FUNCTION, "frac"),
    "tfrac": (Kind.FUNCTION, "frac"),
    "cfrac": (Kind.FUNCTION, "frac"),
    "sqrt": (Kind.FUNCTION, "sqrt"),
    "binom": (Kind.FUNCTION, "binom"),
    "dbinom": (Kind.FUNCTION, "binom"),
    "tbinom": (Kind.FUNCTION, "binom"),
    "pi": (Kind.FUNCTION, "pi"),
    "approx": (Kind.APPROXIMATES, "≈"),
    "doteq": (Kind.APPROXIMATES, "≈"),
    "circ": (Kind.DEGREE, "°"),
    "degree": (Kind.DEGREE, "°"),
    "text": (Kind.TEXT, ""),
    "textrm": (Kind.TEXT, ""),
    "textbf": (Kind.TEXT, ""),
    "textit": (Kind.TEXT, ""),
    "mbox": (Kind.TEXT, ""),
    "mathrm": (Kind.TEXT, ""),
}
_SKIPPED = word_set(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr boxed fbox displaystyle textstyle bf rm it "
    "mathbf boldsymbol limits"
)
_STOPS = word_set(
    "quad qquad implies Rightarrow Longrightarrow rightarrow to iff Leftrightarrow le leq leqslant "
    "ge geq geqslant lt gt in notin cong sim begin end hline newline item therefore because"
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_EIGHTHS = "1/2 1/3 2/3 1/4 3/4 1/5 2/5 3/5 4/5 1/6 5/6 1/8 3/8 5/8 7/8"
_VULGAR = dict(
    zip(
        "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞",
        _EIGHTHS.split(),
        strict=True,
    )
)
_ENDS = frozenset('.;:?"`“”<>#•→⇒∴')
_SEPARATORS = str.maketrans("", "", ",{}\\!")
MAX_DIGITS = 60


def tokens(text: str, start: int = 0, end: int | None = None) -> Iterator[Token]:
    """The tokens of ``text[start:end]``; offsets are those of the whole text."""
    spaced = True
    for match in _PATTERN.finditer(text, start, len(text) if end is None else end):
        group = match.lastgroup or "other"
        if group == "space":
            spaced = True
            continue
        kind, shown = _read(group, match.group())
        if kind is not None:
            yield Token(kind, shown, match.start(), match.end(), spaced)
        spaced = False


_SAME = {
    "equals": Kind.EQUALS,
    "approximates": Kind.APPROXIMATES,
    "unequal": Kind.UNEQUAL,
    "open": Kind.OPEN,
    "close": Kind.CLOSE,
    "line": Kind.LINE,
    "stop": Kind.STOP,
    "environment": Kind.STOP,
    "percent": Kind.PERCENT,
    "degree": Kind.DEGREE,
    "currency": Kind.CURRENCY,
    "bang": Kind.BANG,
    "comma": Kind.COMMA,
    "word": Kind.WORD,
    "mark": Kind.MARK,
    "dots": Kind.UNKNOWN,
}


def _read(group: str, shown: str) -> tuple[Kind | None, str]:
    """Kind and canonical text of a match; no kind for what is passed over."""
    if group in _SAME:
        return _SAME[group], shown
    match group:
        case "number":
            digits = shown.translate(_SEPARATORS)
            # 0730 is a time or a code, not a count.
            code = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
            readable = len(digits) <= MAX_DIGITS and not code
            return (Kind.NUMBER if readable else Kind.UNKNOWN), digits
        case "operator":
            return Kind.OPERATOR, _OPERATORS.get(shown, shown)
        case "escaped":
            # An escaped dollar is currency also where a bare one delimits mathematics.
            return {"$": Kind.CURRENCY, "%": Kind.PERCENT}.get(shown[1], Kind.UNKNOWN), shown
        case "superscript":
            return Kind.FUNCTION, "^" + shown.translate(_SUPERSCRIPTS)
        case "vulgar":
            return Kind.FUNCTION, _VULGAR[shown]
        case "command":
            name = shown[1:]
            if name in _SKIPPED:
                return None, ""
            if name in _STOPS:
                return Kind.STOP, name
            return _COMMANDS.get(name, (Kind.UNKNOWN, shown))
        case _:
            return (Kind.STOP if shown in _ENDS else Kind.UNKNOWN), shown
