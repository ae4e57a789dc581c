r"""Finding equalities in a worked solution: chains of sums joined by equality signs.

`3 * 4 = 12 = 6 + 6` is one chain of three sides. A chain may go on over a line break when the next
line starts with its sign (`\begin{align*} a &= b \\ &= c`). What is no arithmetic stays in a side
as an unknown token, so that a sum is never cut down to the part of it that can be read.
"""

import re

from verifiers.steps import words
from verifiers.steps.reader import EQUAL, Reader
from verifiers.steps.records import Chain
from verifiers.steps.tokens import Kind, Token, tokens

_CLOSING_DOLLAR = re.compile(r"[\d)}]\$(?:[\s.,;:!?]|\Z)")
_OPERANDS = frozenset(
    {Kind.NUMBER, Kind.CLOSE, Kind.PERCENT, Kind.TEXT, Kind.DEGREE, Kind.BANG, Kind.FUNCTION}
)
_AFTER_A_NAME = frozenset({Kind.OPEN, Kind.OPERATOR, Kind.FUNCTION})


def is_latex(text: str) -> bool:
    """Whether dollar signs delimit formulas here, and do not stand for money."""
    return "\\" in text or _CLOSING_DOLLAR.search(text) is not None


def find_chains(
    text: str, start: int = 0, end: int | None = None, *, latex: bool = False
) -> tuple[list[Chain], list[Token]]:
    """All chains with at least one relation, and the calculator marks `<<...>>`, in order.

    Only ``text[start:end]`` is read; offsets are those of the whole text.
    """
    found = list(tokens(text, start, end))
    marks = [token for token in found if token.kind is Kind.MARK]
    finder = _Finder([token for token in found if token.kind is not Kind.MARK], latex)
    return finder.chains(), marks


class _Finder(Reader):
    """One pass over the tokens: what each does to the chain."""

    def chains(self) -> list[Chain]:
        """Read everything."""
        while self._at < len(self._tokens):
            self._at += self._take(self._at)
        self._finish()
        return self._chains

    def _take(self, at: int) -> int:
        """Use the token at this place; returns how many were used."""
        token = self._tokens[at]
        match token.kind:
            case Kind.EQUALS | Kind.APPROXIMATES | Kind.UNEQUAL:
                self._relation(token, at)
            case Kind.LINE:
                return self._line(at)
            case Kind.STOP:
                self._stop(token, at)
            case Kind.COMMA:
                if self._open:
                    self._unknown(token, at)
                else:
                    self._finish()
            case Kind.WORD:
                return self._word(token, at)
            case Kind.TEXT:
                return self._text(token, at)
            case Kind.CURRENCY:
                self._currency(token, at)
            case Kind.OPEN:
                self._opening(token, at)
            case Kind.CLOSE:
                if self._open:
                    self._open.pop()
                    self._push(token, at)
                else:
                    self._finish()
            case Kind.OPERATOR:
                return self._operator(token, at)
            case Kind.UNKNOWN:
                self._unknown(token, at)
            case Kind.FUNCTION if not self._run and self._is_word_before(token, at):
                self._unknown(token, at)  # AB\sqrt{2}
            case Kind.FUNCTION if token.text[0] == "^" and self._ends_in_unit():
                return 1  # cm²
            case _:
                self._push(token, at)
        return 1

    def _currency(self, token: Token, at: int) -> None:
        after = self._next(at + 1)
        if token.text != "$" or not self._latex:
            if after is not None and after.kind is Kind.NUMBER:
                self._push(token, at)
        elif self._run:
            # The end of a formula: only its unit, or the next part of it, can still belong to it.
            self._closed = True
            going_on = (*EQUAL, Kind.OPERATOR, Kind.WORD, Kind.CURRENCY)
            if after is None or after.kind not in going_on:
                self._finish()

    def _relation(self, token: Token, at: int) -> None:
        if token.kind is Kind.UNEQUAL:
            last = self._run[-1] if self._run else None
            if token.text != "!=" or token.spaced or last is None or last.kind not in _OPERANDS:
                self._finish()
                return
            # "5!=120" is a factorial in mathematics and an inequality in code.
            self._push(Token(Kind.BANG, "!", token.start, token.start + 1, False), at)
            self._doubt = "'!=' may mean unequal"
        if self._open and self._is_remark(self._open[-1]):
            # "27 (9 * 3 = 27)": the sum in the bracket is one of its own.
            inside, doubt = self._run[self._open[-1] + 1 :], self._doubt
            self._run = self._run[: self._open[0]]
            self._finish()
            self._run, self._doubt = inside, doubt
        self._end_side()
        self._relations.append(Kind.EQUALS if token.kind is Kind.UNEQUAL else token.kind)

    def _is_remark(self, opening: int) -> bool:
        """Whether a bracket in the run holds a remark: it stands apart, after no sign."""
        if self._run[opening].text == "{":
            return True
        return opening == 0 or (
            self._run[opening].spaced and self._run[opening - 1].kind in _OPERANDS
        )

    def _line(self, at: int) -> int:
        after = at + 1
        while (token := self._next(after)) is not None and (
            token.kind is Kind.LINE or token.text in ("quad", "qquad")
        ):
            after += 1
        goes_on = (
            token is not None and self._goes_on_over_line(self._tokens[at], token)
            if self._run
            else bool(self._relations) and after == at + 1
        )
        if not goes_on:
            self._finish()
        return after - at

    def _goes_on_over_line(self, line: Token, after: Token) -> bool:
        if after.kind in EQUAL:
            return not self._open
        last = self._run[-1]
        if not self._latex or line.end - line.start == 2:
            # A new line of plain text or of an alignment.
            aligned = self._latex and after.kind is Kind.OPERATOR
            return aligned or last.kind is Kind.OPERATOR
        if after.kind is Kind.OPERATOR and after.text in "+-*":
            self._doubt = "a sign at the start of a line may mark a list"
            return True
        unfinished = (Kind.OPERATOR, Kind.FUNCTION, Kind.UNKNOWN)
        return bool(self._open) or last.kind in unfinished

    def _stop(self, token: Token, at: int) -> None:
        before, after = self._next(at - 1), self._next(at + 1)
        beside = [token for token in (before, after) if token is not None]
        if token.text in ("quad", "qquad") and any(t.kind is Kind.OPERATOR for t in beside):
            return  # a long sum goes on in the next line of an alignment
        if token.text == "." and after is not None and not after.spaced:
            digits = before is not None and before.kind is Kind.NUMBER and not token.spaced
            if after.kind is Kind.UNKNOWN or (digits and after.text[:1].islower()):
                self._unknown(token, at)  # 0.\overline{3}, 0.ababab
                return
        between = (
            token.text == ":"
            and before is not None
            and after is not None
            and before.kind is after.kind is Kind.NUMBER
            and not token.spaced
            and not after.spaced
        )
        if between:
            # 10:30 and 2:3 are no numbers.
            self._unknown(token, at)
        else:
            self._finish()

    def _opening(self, token: Token, at: int) -> None:
        before = self._next(at - 1)
        if before is not None and before.kind is Kind.WORD and not self._run and not token.spaced:
            self._unknown(before, at - 1)  # area(3): a function
        elif self._run and self._run[-1].kind is Kind.TEXT and token.spaced:
            self._finish()  # 9 eggs (for breakfast)
        self._push(token, at)
        self._open.append(len(self._run) - 1)

    def _operator(self, token: Token, at: int) -> int:
        before, after = self._next(at - 1), self._next(at + 1)
        if not self._run:
            starts_line = before is None or before.kind is Kind.LINE
            apart = after is None or after.spaced
            if starts_line and apart and token.text in "-+*":
                return 1  # the mark of a list item
            word = before is not None and before.kind is Kind.WORD
            sign = token.text in "-+" and not apart and (token.spaced or not word)
            if not sign and not self._just_after_relation():
                self._unknown(token, at)  # its left operand is a word or a variable
                return 1
        elif token.text == "^":
            if self._run[-1].kind is Kind.TEXT:  # cm^2 or cm^{2}
                return 4 if after is not None and after.text == "{" else 2
            if self._latex and after is not None and len(after.text) > 1:
                self._doubt = "TeX raises one digit only"
        self._push(token, at)
        return 1

    def _is_word_before(self, token: Token, at: int) -> bool:
        before = self._next(at - 1)
        return (
            before is not None
            and before.kind is Kind.WORD
            and (not token.spaced or before.text.isupper())
        )

    def _text(self, token: Token, at: int) -> int:
        r"""`\text{ cm}`: a unit; anything but words in it makes the side unknown."""
        opening = self._next(at + 1)
        if opening is None or opening.text != "{":
            return 1
        named: list[str] = []
        used = 2
        while (inner := self._next(at + used)) is not None and inner.text != "}":
            if inner.kind is not Kind.WORD and inner.kind is not Kind.STOP:
                self._unknown(inner, at)
            named.append(inner.text)
            used += 1
        ending = any(word.lower() in words.ENDING for word in named)
        after = self._next(at + used + 1)
        if self._run and ending:
            self._finish()
        elif self._run and named:
            self._attach(named, token, at)
        elif after is not None and not ending and after.kind in _AFTER_A_NAME:
            self._unknown(token, at)  # \text{gcd}(12, 8)
        return used + 1

    def _attach(self, named: list[str], token: Token, at: int) -> None:
        if any(word in words.VALUE_CHANGING for word in named):
            self._unknown(token, at)
        elif units := words.units_of(named):
            self._push(Token(Kind.TEXT, " ".join(units), token.start, token.end, True), at)

    def _word(self, token: Token, at: int) -> int:
        if not self._run:
            article = token.text in "aAI" and token.spaced
            if (len(token.text) == 1 or token.text.isupper()) and not article:
                self._unknown(token, at)
            elif self._just_after_relation():
                self._finish()
            return 1
        last, after = self._run[-1], self._next(at + 1)
        operator = words.OPERATORS.get(token.text)
        if operator and last.kind in _OPERANDS and self._starts_operand(token, after):
            self._push(Token(Kind.OPERATOR, operator, token.start, token.end, token.spaced), at)
            return 1
        if token.text == "of" and self._is_share() and self._starts_operand(token, after):
            self._push(Token(Kind.OPERATOR, "of", token.start, token.end, True), at)
            return 1
        if last.kind is Kind.OPERATOR:
            return self._word_after_operator(token, at)
        return self._phrase(token, at)

    def _word_after_operator(self, token: Token, at: int) -> int:
        last = self._run[-1]
        after = self._next(at + 1)
        joins = last.text == "/" or (last.text == "-" and not last.spaced)
        if joins and len(self._run) > 1 and len(token.text) > 1 and not token.spaced:
            self._run.pop()  # miles/hour, a 120-page book
            return self._phrase(token, at, joined=last.text)
        goes_on = after is not None and (after.kind in EQUAL or after.kind is Kind.OPERATOR)
        if len(token.text) == 1 or goes_on or not self._relations:
            self._unknown(token, at)
            return 1
        self._run.pop()
        self._doubt = "a sum that goes on in words"
        self._finish()
        return 1

    def _phrase(self, token: Token, at: int, joined: str = "") -> int:
        """Words after a number: its unit when a sign follows them, else the end of the sum."""
        after_number = self._run[-1].kind is Kind.NUMBER
        if token.text in words.VALUE_CHANGING:
            self._unknown(token, at)
            return 1
        length = words.phrase_length(self._tokens, at)
        article = token.text == "a" and token.spaced and length > 1
        variable = words.is_variable(token, after_number=after_number, latex=self._latex)
        if variable and not article:
            self._unknown(token, at)
            return 1
        named = [word.text for word in self._tokens[at : at + length]]
        self._doubt = self._doubt or ("a share of something" if token.text == "of" else None)
        if joined != "/" and named:
            self._attach(named, self._tokens[at + length - 1], at)
        following = self._next(at + length)
        sign = following is not None and (
            following.kind in EQUAL
            or following.kind is Kind.OPERATOR
            or (following.kind is Kind.CLOSE and bool(self._open))
            or (following.kind is Kind.LINE and self._continues(at + length))
            or following.text in words.OPERATORS
        )
        if not sign or self._closed:
            if self._words_change_value(at + length):
                self._doubt = "words that may change the value"
            self._finish()
        return max(1, length)
