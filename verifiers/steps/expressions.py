r"""Reading one side of an equality: tokens to an exact number, its units, and what is doubtful.

Grammar, loosest first; there is no backtracking and the nesting is capped::

    sum     = product (("+" | "-") product)*
    product = factor (("*" | "/" | "of" | nothing) factor)*
    factor  = ("+" | "-") factor | suffixed ["^" factor]
    atom    = number | mixed number | "(" sum ")" | \frac{}{} | \sqrt[]{} | \binom{}{} | \pi
"""

from dataclasses import dataclass
from fractions import Fraction

from verifiers.steps import arithmetic
from verifiers.steps.arithmetic import Number, OutOfReach
from verifiers.steps.tokens import Kind, Token

MAX_DEPTH = 40
MAX_TOKENS = 400


class Unreadable(ValueError):
    """Tokens that are no arithmetic: a variable, an unknown command, two numbers in a row."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one side of an equality says.

    Attributes:
        values: the exact value; two where a percent sign can be read as 1/100 or as a unit.
        decimals: digits after the point when the side is one literal number, else None.
        units: the words met that may be units, singular.
        doubt: why an unequal value is no proof of a mistake, or None.
        percent: whether a percent sign was met.
        double: whether a number shows the 15 digits or more of a double-precision calculator.
    """

    values: tuple[Number, ...]
    decimals: int | None
    units: frozenset[str]
    doubt: str | None
    percent: bool
    double: bool

    @property
    def literal(self) -> bool:
        """Whether the side is a single number, so that nothing is computed in it."""
        return self.decimals is not None


def read_side(run: list[Token]) -> Side:
    """Evaluate the tokens of one side.

    Raises:
        Unreadable: they are no arithmetic.
        OutOfReach: the value is undefined, too large, or no sum of roots.
    """
    if len(run) > MAX_TOKENS:
        raise Unreadable(f"more than {MAX_TOKENS} tokens")
    percent = any(token.kind is Kind.PERCENT for token in run)
    readings = [
        _Reader(run, scale) for scale in ((Fraction(1, 100), Fraction(1)) if percent else (1,))
    ]
    quantities = [reader.whole() for reader in readings]
    return Side(
        values=tuple(quantity.value for quantity in quantities),
        decimals=_literal_decimals(run),
        units=quantities[0].units - {"%"},
        doubt=readings[0].doubt,
        percent=percent,
        double=any(_is_double(token) for token in run if token.kind is Kind.NUMBER),
    )


@dataclass(frozen=True, slots=True)
class _Quantity:
    value: Number
    units: frozenset[str] = frozenset()


class _Reader:
    """A recursive descent over the tokens of one side."""

    def __init__(self, run: list[Token], percent: Fraction | int) -> None:
        self._run = run
        self._at = 0
        self._depth = 0
        self._percent = Fraction(percent)
        self.doubt: str | None = None

    def whole(self) -> _Quantity:
        """The whole run. Raises Unreadable where something is left over."""
        quantity = self._sum()
        if self._at < len(self._run):
            raise Unreadable(f"{self._run[self._at].text!r} was not expected")
        return quantity

    def _peek(self, ahead: int = 0) -> Token | None:
        index = self._at + ahead
        return self._run[index] if index < len(self._run) else None

    def _operator(self, *texts: str) -> str | None:
        token = self._peek()
        if token is not None and token.kind is Kind.OPERATOR and token.text in texts:
            self._at += 1
            return token.text
        return None

    def _sum(self) -> _Quantity:
        total = self._product()
        while sign := self._operator("+", "-"):
            term = self._product()
            if total.units and term.units and not total.units & term.units:
                self.doubt = "terms in different units"
            if ("%" in total.units) != ("%" in term.units):
                self.doubt = "a percentage added to a number"
            value = term.value if sign == "+" else arithmetic.negate(term.value)
            total = _Quantity(arithmetic.add(total.value, value), total.units | term.units)
        return total

    def _product(self) -> _Quantity:
        total = self._factor()
        divided = False
        while True:
            operator = self._operator("*", "/", "//", "of")
            if operator is None:
                if not self._starts_implicit_factor():
                    return total
                if divided:
                    self.doubt = "a product without a sign after a division"
            divided = divided or operator == "/"
            if operator == "/" and self._is_spaced_fraction():
                self.doubt = "a division by what may be a fraction"
            factor = self._factor()
            combine = _PRODUCTS[operator or "*"]
            total = _Quantity(combine(total.value, factor.value), total.units | factor.units)

    def _starts_implicit_factor(self) -> bool:
        token = self._peek()
        if token is None:
            return False
        if token.kind is Kind.OPEN:
            if token.spaced:
                self.doubt = "a bracket after a space"
            return True
        if token.kind is Kind.NUMBER:
            if self._run[self._at - 1].kind is not Kind.CLOSE or token.spaced:
                raise Unreadable("two numbers without a sign between them")
            self.doubt = "a number after a bracket"
            return True
        return token.kind is Kind.FUNCTION and not token.text.startswith("^")

    def _is_spaced_fraction(self) -> bool:
        """Whether `3/4` follows a slash that stands apart: `60 / 3/4` means 60 / (3/4)."""
        apart = self._run[self._at - 1].spaced or (
            self._at < len(self._run) and self._run[self._at].spaced
        )
        ahead = [self._peek(1), self._peek(2)]
        if ahead[0] is not None and ahead[0].kind is Kind.TEXT:
            ahead.pop(0)
        return apart and ahead[0] is not None and ahead[0].text == "/"

    def _factor(self) -> _Quantity:
        if sign := self._operator("+", "-"):
            with _Nesting(self):
                quantity = self._factor()
            value = arithmetic.negate(quantity.value) if sign == "-" else quantity.value
            return _Quantity(value, quantity.units)
        base = self._suffixed()
        token = self._peek()
        if token is not None and token.kind is Kind.FUNCTION and token.text.startswith("^"):
            self._at += 1
            exponent = arithmetic.rational(int(token.text[1:]))
        elif self._operator("^"):
            if (degree := self._peek()) is not None and degree.kind is Kind.DEGREE:
                self._at += 1
                return _Quantity(base.value, base.units | {"degree"})
            with _Nesting(self):
                exponent = self._factor().value
        else:
            return base
        return _Quantity(arithmetic.raise_to(base.value, exponent), base.units)

    def _suffixed(self) -> _Quantity:
        quantity = self._atom()
        while (token := self._peek()) is not None:
            if token.kind is Kind.PERCENT:
                scaled = arithmetic.multiply(quantity.value, arithmetic.rational(self._percent))
                quantity = _Quantity(scaled, quantity.units | {"%"})
            elif token.kind is Kind.BANG:
                quantity = _Quantity(arithmetic.factorial(quantity.value), quantity.units)
            elif token.kind in (Kind.TEXT, Kind.DEGREE, Kind.CURRENCY):
                units = token.text if token.kind is Kind.TEXT else token.kind.value
                quantity = _Quantity(quantity.value, quantity.units.union(units.split()))
            else:
                break
            self._at += 1
        return quantity

    def _atom(self) -> _Quantity:
        token = self._peek()
        if token is None:
            raise Unreadable("a number was expected at the end")
        self._at += 1
        match token.kind:
            case Kind.CURRENCY:
                with _Nesting(self):
                    quantity = self._atom()
                return _Quantity(quantity.value, quantity.units | {"currency"})
            case Kind.NUMBER:
                return _Quantity(arithmetic.rational(self._mixed(Fraction(token.text))))
            case Kind.OPEN:
                return self._bracketed()
            case Kind.FUNCTION:
                return self._function(token.text)
        raise Unreadable(f"{token.text!r} is no number")

    def _bracketed(self) -> _Quantity:
        if self._run[self._at - 1].text == "[":
            self.doubt = "square brackets may cut off decimals"
        with _Nesting(self):
            quantity = self._sum()
        token = self._peek()
        if token is None or token.kind is not Kind.CLOSE:
            raise Unreadable("a bracket is not closed")
        self._at += 1
        return quantity

    def _mixed(self, whole: Fraction) -> Fraction:
        """Add the fraction of a mixed number: `1 1/2`, `1\\frac{1}{2}`, `1½`."""
        following = [self._peek(ahead) for ahead in range(7)]
        part = _vulgar(following[0]) or _plain_fraction(following) or _latex_fraction(following)
        if part is None or whole.denominator != 1:
            return whole
        length, value = part
        if not 0 < value < 1:
            return whole
        self._at += length
        return whole + value

    def _function(self, name: str) -> _Quantity:
        match name:
            case "pi":
                return _Quantity(arithmetic.pi())
            case "frac":
                top, bottom = self._arguments()
                if top.units and bottom.units and not top.units & bottom.units:
                    self.doubt = "a quotient of units"
                return _Quantity(
                    arithmetic.divide(top.value, bottom.value), top.units | bottom.units
                )
            case "binom":
                top, bottom = self._arguments()
                return _Quantity(arithmetic.choose(top.value, bottom.value))
            case "sqrt":
                degree = 2
                token = self._peek()
                if token is not None and token.text == "[":
                    self._at += 1
                    doubt = self.doubt
                    exact = arithmetic.as_fraction(self._bracketed().value)
                    self.doubt = doubt  # these brackets hold a degree
                    if exact is None or exact.denominator != 1:
                        raise OutOfReach("a root of no whole degree")
                    degree = exact.numerator
                return _Quantity(arithmetic.root(self._argument().value, degree))
        if "/" in name:
            return _Quantity(arithmetic.rational(Fraction(name)))
        raise Unreadable(f"{name!r} is no number")

    def _arguments(self) -> tuple[_Quantity, _Quantity]:
        token = self._peek()
        # \frac12 is one half: TeX takes one character an argument.
        if token is not None and token.kind is Kind.NUMBER and len(token.text) == 2:
            if not token.text.isdigit():
                raise Unreadable("\\frac with no two arguments")
            self._at += 1
            first, second = (arithmetic.rational(int(digit)) for digit in token.text)
            return _Quantity(first), _Quantity(second)
        return self._argument(), self._argument()

    def _argument(self) -> _Quantity:
        token = self._peek()
        if token is None:
            raise Unreadable("an argument is missing")
        self._at += 1
        if token.kind is Kind.OPEN and token.text == "{":
            return self._bracketed()
        if token.kind is Kind.NUMBER and len(token.text) == 1:
            return _Quantity(arithmetic.rational(int(token.text)))
        raise Unreadable(f"{token.text!r} is no argument in braces")


_PRODUCTS = {
    "*": arithmetic.multiply,
    "of": arithmetic.multiply,
    "/": arithmetic.divide,
    "//": arithmetic.divide_whole,
}


class _Nesting:
    """Counts how deep the descent is; deeper than the cap is unreadable, never a stack overflow."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def __enter__(self) -> None:
        self._reader._depth += 1
        if self._reader._depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")

    def __exit__(self, *_: object) -> None:
        self._reader._depth -= 1


def _vulgar(token: Token | None) -> tuple[int, Fraction] | None:
    if token is None or token.kind is not Kind.FUNCTION or "/" not in token.text:
        return None
    return 1, Fraction(token.text)


def _plain_fraction(tokens: list[Token | None]) -> tuple[int, Fraction] | None:
    match tokens[:3]:
        case [
            Token(kind=Kind.NUMBER, text=top, spaced=True),
            Token(kind=Kind.OPERATOR, text="/", spaced=False),
            Token(kind=Kind.NUMBER, text=bottom, spaced=False),
        ] if top.isdigit() and bottom.isdigit() and int(bottom):
            return 3, Fraction(int(top), int(bottom))
    return None


def _latex_fraction(tokens: list[Token | None]) -> tuple[int, Fraction] | None:
    texts = [token.text if token is not None else "" for token in tokens]
    if texts[0] != "frac":
        return None
    if len(texts[1]) == 2 and texts[1].isdigit() and texts[1][1] != "0":
        return 2, Fraction(int(texts[1][0]), int(texts[1][1]))
    top, bottom = texts[2], texts[5]
    if (texts[1], texts[3], texts[4], texts[6]) != ("{", "}", "{", "}"):
        return None
    if not (top.isdigit() and bottom.isdigit() and int(bottom)):
        return None
    return 7, Fraction(int(top), int(bottom))


def _is_double(number: Token) -> bool:
    digits = number.text.replace(".", "").lstrip("0")
    return "." in number.text and len(digits) >= 15


def _literal_decimals(run: list[Token]) -> int | None:
    """Digits after the point when the run is one number with its sign, currency and units."""
    numbers = [token for token in run if token.kind is Kind.NUMBER]
    rest = {token.kind for token in run} - {
        Kind.NUMBER, Kind.CURRENCY, Kind.PERCENT, Kind.TEXT, Kind.DEGREE, Kind.OPEN, Kind.CLOSE,
    }  # fmt: skip
    signed = run[0].kind is Kind.OPERATOR and run[0].text in "+-" if run else False
    operators = sum(token.kind is Kind.OPERATOR for token in run)
    if len(numbers) != 1 or rest - {Kind.OPERATOR} or operators != int(signed):
        return None
    return len(numbers[0].text.partition(".")[2])
