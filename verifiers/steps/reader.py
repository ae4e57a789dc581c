"""A chain while it is being read: its sides so far, and the side that grows."""

from verifiers.steps import words
from verifiers.steps.records import Chain, Run
from verifiers.steps.tokens import Kind, Token, word_set

_ROUNDING_WORDS = word_set(
    "nearest round rounds rounded rounding approximately roughly approx remainder"
)
EQUAL = frozenset({Kind.EQUALS, Kind.APPROXIMATES})


class Reader:
    """Tokens, a place among them, and the chains found; the run is the side that is being read."""

    def __init__(self, found: list[Token], latex: bool) -> None:
        self._tokens = found
        self._latex = latex
        self._chains: list[Chain] = []
        self._at = 0
        self._sides: list[Run] = []
        self._relations: list[Kind] = []
        self._clear()

    def _clear(self) -> None:
        self._closed = False
        self._run: list[Token] = []
        self._open: list[int] = []
        self._doubt: str | None = None
        self._after_word = False

    def _finish(self) -> None:
        """End the chain: what follows belongs to another sentence."""
        if self._relations:
            if any(
                token.text in _ROUNDING_WORDS for token in self._tokens[self._at : self._at + 12]
            ):
                self._doubt = "the number may be rounded"
            self._end_side()
            self._chains.append(Chain(tuple(self._sides), tuple(self._relations)))
        self._sides, self._relations = [], []
        self._clear()

    def _end_side(self) -> None:
        if self._run:
            start, end = self._run[0].start, self._run[-1].end
        else:
            start = end = self._sides[-1].end if self._sides else 0
        run = Run(tuple(self._run), start, end, self._doubt, self._after_word)
        self._sides.append(run)
        self._clear()

    def _next(self, at: int) -> Token | None:
        return self._tokens[at] if 0 <= at < len(self._tokens) else None

    def _push(self, token: Token, at: int) -> None:
        if not self._run:
            before = self._next(at - 1)
            self._after_word = before is not None and before.kind is Kind.WORD
            self._doubt = words.doubtful_start(self._tokens, at)
        self._run.append(token)

    def _unknown(self, token: Token, at: int) -> None:
        self._push(Token(Kind.UNKNOWN, token.text, token.start, token.end, token.spaced), at)

    def _ends_in_unit(self) -> bool:
        return bool(self._run) and self._run[-1].kind is Kind.TEXT

    def _just_after_relation(self) -> bool:
        return bool(self._relations) and len(self._sides) == len(self._relations)

    def _starts_operand(self, token: Token, after: Token | None) -> bool:
        if after is None:
            return False
        if after.kind in (Kind.NUMBER, Kind.CURRENCY):
            return True
        # "2x(3)" may be a variable times three; "2 x (3)" is a product.
        return after.kind in (Kind.OPEN, Kind.FUNCTION) and token.spaced and after.spaced

    def _is_share(self) -> bool:
        """Whether the run ends in what "of" can multiply: a percentage or a fraction."""
        last = self._run[-1]
        fraction = len(self._run) > 1 and self._run[-2].text == "/"
        return last.kind is Kind.PERCENT or fraction or last.text.startswith((".", "0."))

    def _words_change_value(self, at: int) -> bool:
        """Whether what follows a sum belongs to its last number: "16 and 2/3"."""
        following, after = self._next(at), self._next(at + 1)
        if following is None or following.kind is not Kind.WORD:
            return False
        if following.text == "and" and after is not None:
            if after.kind is Kind.OPEN:
                at, after = at + 1, self._next(at + 2)
            slash = self._next(at + 2)
            if after is not None and after.kind is Kind.NUMBER:
                return slash is not None and slash.text == "/"
        return following.text in words.VALUE_CHANGING

    def _continues(self, at: int) -> bool:
        while (token := self._next(at)) is not None and token.kind is Kind.LINE:
            at += 1
        return token is not None and token.kind in EQUAL
