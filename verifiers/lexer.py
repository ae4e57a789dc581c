"""Text to tokens: LaTeX and plain notation, in one pass.

Numbers are read here, because their separators depend on what stands beside them: `1,234`,
`1{,}234`, `1\\,234` and `1 234` are one number, `(1,234)` and `1, 234` are two.
"""

from __future__ import annotations

import re

from verifiers import signs
from verifiers import vocabulary as words
from verifiers.glyphs import to_latex
from verifiers.numerals import HEXADECIMAL, Scanner, Token
from verifiers.verdict import ParseError
from verifiers.wordlist import UNIT_WORDS, is_word

MAX_LENGTH = 10_000


_TOKEN = re.compile(
    r"(?P<ws>[\s~]+)"
    r"|(?P<num>\d+(?:\.\d+|\.(?=\\(?:overline|bar|dot)\b|\(\d))?|\.(?:\d+|(?=\\overline)))"
    r"|\\(?P<cmd>[a-zA-Z]+)\*?"
    r"|\\(?P<esc>.)"
    r"|(?P<word>[a-zA-Z]+)"
    r"|(?P<alien>(?:(?![a-zA-Z])[^\W\d_])+)"
    r"|(?P<dots>\.\.\.+)"
    r"|(?P<rel><=|>=|==|!=|=<|=>|:=|<|>|=)"
    r"|(?P<pow>\*\*)"
    r"|(?P<op>.)",
    re.DOTALL,
)


_BASE = re.compile(r"_\{?(\d{1,2})\}?(?!\d)")


_DIGITS = re.compile(r"\d[0-9A-Z]{0,40}")


_HEX_DIGITS = re.compile(r"[0-9A-F]{1,40}")


_COMPOUND_UNIT = re.compile(r"[a-zA-Z]{1,3}(?:\^?\d)?(?:/[a-zA-Z]{1,3}(?:\^\{?\d\}?|\d)?){1,3}")
_PLAIN_UNIT = re.compile(
    r"(?:k?m|cm|ft|mi|k?g|L|ml|mL)/(?:s|sec|h|hr|min|m|cm|L|ml|mL)(?:\^(?:[23]|\{[23]\}))?(?![\w^/(])"
)
_UNIT_LETTERS = frozenset("msgLhNJWVAKCF")


_BEFORE_UNITS = frozenset(("num", "text", "const", "currency", "/", "*", "}", ")", "]", "!"))


_LETTERS = re.compile(r"[A-Z](?:,? and [A-Z]|, ?[A-Z])+")


_JOINED = re.compile(r"(?:or|and)(?=[A-Z])")


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


_MATH_IN_TEXT = re.compile(r"[^a-zA-Z]*(?:[a-zA-Z](?![a-zA-Z])[^a-zA-Z]*)*")


def tokenize(text: str, *, commas_separate: bool = False) -> list[Token]:
    """The tokens of `text`. With `commas_separate`, `1,234` is two numbers.

    Raises ParseError for texts over the caps on length, digits and tokens.
    """
    if len(text) > MAX_LENGTH:
        raise ParseError(f"{len(text)} characters; an answer has at most {MAX_LENGTH}")
    lexer = _Lexer(to_latex(text), commas_separate)
    lexer.run(0, len(lexer.text))
    return lexer.tokens


class _Lexer(Scanner):
    """One pass over a text."""

    def run(self, at: int, end: int) -> None:
        """Reads `text[at:end]`."""
        text = self.text
        spaced = False
        match_at = _TOKEN.match
        while at < end:
            match = match_at(text, at, end)
            if match is None:
                raise ParseError("unreadable text")
            kind = match.lastgroup
            at = match.end()
            if kind == "ws":
                spaced = True
                continue
            if kind == "op":
                self.operator(match.group(), spaced)
            elif kind == "num":
                at = self.number(match, spaced, end)
            elif kind == "word":
                at = self.word(match, spaced, end)
            elif kind == "cmd":
                at = self.command(match.group("cmd"), at, spaced, end)
            elif kind == "esc":
                if self.escaped(match.group("esc"), spaced):
                    spaced = True
                    continue
            elif kind == "rel":
                relation = match.group()
                self.add("rel", signs.PLAIN_RELATIONS.get(relation, relation), spaced)
            elif kind == "pow":
                self.add("^", "^", spaced)
            elif kind == "alien":
                # Letters of another script are words, never the variables they resemble.
                kind = signs.JOINING.get(match.group(), "")
                self.add("sep" if kind else "text", kind or match.group(), spaced)
            else:
                self.add("dots", "...", spaced)
            spaced = False

    def operator(self, char: str, spaced: bool) -> None:
        if char in "([":
            self.depth += 1
        elif char in ")]":
            self.depth -= 1
        elif char == "$":
            return
        elif char in ",;":
            self.add("sep", char, spaced)
            return
        self.add(char, char, spaced)

    def escaped(self, char: str, spaced: bool) -> bool:
        """Reads `\\char`; True where it is only space."""
        if char in ",!:;> \n/@":
            return True
        if char == "{":
            self.depth += 1
            self.add("set{", "{", spaced)
        elif char == "}":
            self.depth -= 1
            self.add("set}", "}", spaced)
        elif char == "\\":
            self.add("newline", "\\\\", spaced)
        elif char == "$":
            self.add("currency", "dollar", spaced)
        elif char == "|":
            self.add("|", "|", spaced)
        elif char in "()[]":
            return True  # delimiters of inline and displayed math
        else:
            self.add(char, char, spaced)
        return False

    def word(self, match: re.Match[str], spaced: bool, end: int) -> int:
        word = match.group()
        at = match.end()
        hexadecimal = HEXADECIMAL.match(self.text, match.start(), end)
        if hexadecimal:
            self.add("based", f"{hexadecimal.group(1)}_{hexadecimal.group(2)}", spaced)
            return hexadecimal.end()
        if self.tokens and self.tokens[-1].kind == "num":
            unit = _PLAIN_UNIT.match(self.text, match.start(), end)
            if unit:
                self.add("text", unit.group().replace("{", "").replace("}", ""), spaced)
                return unit.end()
        self.plain(word, spaced)
        return at

    def plain(self, word: str, spaced: bool) -> None:
        if len(word) == 1:
            if word in "eiI":
                self.add("const", "e" if word == "e" else "i", spaced)
            else:
                self.add("sym", word, spaced)
            return
        lower = word.lower()
        joined = _JOINED.match(word)
        if joined:
            self.add("sep", joined.group(), spaced)
            self.plain(word[joined.end() :], False)
        elif lower in ("and", "or"):
            self.add("sep", lower, spaced)
        elif word in words.FUNCTIONS and word not in words.SUPERFLUOUS_IN_PLAIN:
            self.add("func", words.FUNCTIONS[word], spaced)
        elif lower in signs.PLAIN_CONSTANTS:
            self.add("const", signs.PLAIN_CONSTANTS[lower], spaced)
        elif lower == "sqrt":
            self.add("cmd", "sqrt", spaced)
        elif lower == "mod":
            self.add("mod", "mod", spaced)
        elif word == "to" and spaced:
            self.add(":", ":", spaced)
        elif lower == "degrees" or lower == "degree":
            self.add("degree", "°", spaced)
        elif lower in ("percent", "percentage", "pct"):
            self.add("%", "%", spaced)
        elif lower in words.GREEK and len(word) > 2:
            self.add("sym", "\\" + word, spaced)
        elif is_word(word) and not (word in UNIT_WORDS and self.at_start()):
            self.add("text", word, spaced)
        else:
            for i, letter in enumerate(word):
                self.plain(letter, spaced and i == 0)

    def at_start(self) -> bool:
        """Whether nothing stands here that a unit could follow."""
        return not self.tokens or self.tokens[-1].kind not in _BEFORE_UNITS

    def command(self, name: str, at: int, spaced: bool, end: int) -> int:
        if name in words.SKIPPED:
            if name in ("left", "right"):
                return self.sized(name, at, spaced, end)
            return at
        if name in words.FRACTIONS:
            self.add("cmd", "frac", spaced)
        elif name in words.TEXT:
            content, at = self.argument(at, end)
            base = _BASE.match(self.text, at, end)
            hexadecimal = base and int(base.group(1)) > 10 and _HEX_DIGITS.fullmatch(content)
            if base and (hexadecimal or _DIGITS.fullmatch(content)):
                self.add("based", f"{content}_{base.group(1)}", spaced)
                return base.end()
            self.inner_text(content, spaced)
        elif name in words.STYLED:
            return self.styled(name, at, spaced, end)
        elif name in words.RELATIONS:
            self.add("rel", words.RELATIONS[name], spaced)
        elif name in words.CONSTANTS:
            self.add("const", words.CONSTANTS[name], spaced)
        elif name in words.FUNCTIONS:
            self.add("func", words.FUNCTIONS[name], spaced)
        elif name in signs.OPERATORS:
            kind = signs.OPERATORS[name]
            if kind == "set{":
                self.depth += 1
            elif kind == "set}":
                self.depth -= 1
            self.add(kind, name, spaced)
        elif name in words.DOTS:
            self.add("dots", "...", spaced)
        elif name in words.BIG:
            self.add("big", words.BIG[name], spaced)
        elif name in words.CURRENCY:
            self.add("currency", words.CURRENCY[name], spaced)
        elif name in words.BINOMIALS:
            self.add("cmd", "binom", spaced)
        elif name in ("sqrt", "begin", "end", "operatorname"):
            if name == "sqrt":
                self.add("cmd", "sqrt", spaced)
            else:
                content, at = self.argument(at, end)
                self.add(name, content.strip().rstrip("*"), spaced)
        elif name in words.ACCENTS:
            self.add("accent", name, spaced)
        elif name in words.DROPPED_WITH_ARGUMENT:
            _, at = self.argument(at, end)
        elif name in words.IMPLICATIONS:
            self.add("implies", name, spaced)
        elif name == "mathbb":
            content, at = self.argument(at, end)
            known = content in ("R", "Z", "N", "Q", "C")
            self.add("const" if known else "sym", content, spaced)
        elif name == "not":
            self.add("not", name, spaced)
        else:
            self.add("sym", "\\" + name, spaced)
        return at

    def sized(self, name: str, at: int, spaced: bool, end: int) -> int:
        """After `\\left` or `\\right`: a bar is told from its twin, a dot is no bracket."""
        while at < end and self.text[at].isspace():
            at += 1
        following = self.text[at : at + 1]
        if following == "." and at < end:
            return at + 1
        if following == "|" and at < end:
            self.add("lbar" if name == "left" else "rbar", "|", spaced)
            return at + 1
        return at

    def styled(self, name: str, at: int, spaced: bool, end: int) -> int:
        content, at = self.argument(at, end)
        content = content.strip()
        if content in words.FUNCTIONS:
            self.add("func", words.FUNCTIONS[content], spaced)
        elif (
            name == "mathrm"
            and not self.at_start()
            and (
                content.strip("~ ") in _UNIT_LETTERS
                or _COMPOUND_UNIT.fullmatch(content.strip("~ "))
            )
        ):
            self.add("text", content.strip("~ "), spaced)
        elif name == "operatorname" and len(content) > 1 and content.isalpha():
            self.add("sym", "\\" + content, spaced)
        else:
            self.nested(content, spaced)
        return at

    def inner_text(self, content: str, spaced: bool) -> None:
        stripped = content.strip(" ~\t\n.,:;")
        if not stripped:
            if content.strip(" ~\t\n.:") in (",", ";"):
                self.add("sep", ",", spaced)
            return
        lower = stripped.lower()
        if lower in ("and", "or"):
            self.add("sep", lower, spaced)
        elif lower.replace(" ", "") == "(mod":
            self.operator("(", spaced)
            self.plain("mod", False)
        elif _LETTERS.fullmatch(stripped):
            self.nested(stripped, spaced)
        elif _COMPOUND_UNIT.fullmatch(stripped) or (
            stripped in _UNIT_LETTERS and not self.at_start()
        ):
            self.add("text", stripped, spaced)
        elif _MATH_IN_TEXT.fullmatch(stripped) or "\\" in stripped or stripped[0].isdigit():
            self.nested(stripped, spaced)
        elif lower == "to":
            self.add(":", ":", spaced)
        elif lower in ("percent", "degrees", "degree", "pi", "infinity", "mod"):
            self.plain(lower, spaced)
        elif len(lower) == 2 and lower in ("ii", "iv", "vi", "ix", "xi"):
            self.add("text", stripped, spaced)
        else:
            head, _, rest = lower.partition(" ")
            if head in ("and", "or") and rest:
                self.add("sep", head, spaced)
                self.inner_text(rest, True)
            else:
                self.add("text", stripped, spaced)

    def nested(self, content: str, spaced: bool) -> None:
        """Reads `content` in place."""
        before = len(self.tokens)
        inner = _Lexer(content, self.commas_separate)
        inner.tokens = self.tokens
        inner.depth = self.depth
        if len(content) < len(self.text):  # nesting shortens: the recursion ends
            inner.run(0, len(content))
        if spaced and len(self.tokens) > before:
            self.tokens[before] = self.tokens[before]._replace(spaced=True)

    def argument(self, at: int, end: int) -> tuple[str, int]:
        """The raw brace group (or single character) at `at`, and where it ends."""
        text = self.text
        while at < end and text[at].isspace():
            at += 1
        if at >= end:
            return "", at
        if text[at] != "{":
            return text[at], at + 1
        depth = 0
        for brace in _BRACE.finditer(text, at, end):
            if brace.group() == "{":
                depth += 1
            elif brace.group() == "}":
                depth -= 1
                if depth == 0:
                    return text[at + 1 : brace.start()], brace.end()
        raise ParseError("an opening brace is never closed")
