"""The parts of a parsed answer. Frozen records: equal records are equal answers in equal form."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Num:
    """An exact rational. `decimals` is the number of digits after the point, None for integers.

    `significant` counts the digits of a decimal literal; 0 where it is written exactly.
    """

    value: Fraction
    decimals: int | None = None
    significant: int = 0


@dataclass(frozen=True, slots=True)
class Sym:
    """A variable, with its subscript and primes in its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Const:
    """`pi`, `e`, `i`, `oo` (infinity), `empty`, or a number set `R`, `Z`, `N`, `Q`, `C`."""

    name: str


@dataclass(frozen=True, slots=True)
class Add:
    """A sum; differences are sums with Neg."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Neg:
    """The negative of a term."""

    item: Node


@dataclass(frozen=True, slots=True)
class PlusMinus:
    """`left ± right` (or `∓`, for which `plus_first` is False); `left` is None for a sign."""

    left: Node | None
    right: Node
    plus_first: bool


@dataclass(frozen=True, slots=True)
class Mul:
    """A product."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Div:
    """A quotient."""

    top: Node
    bottom: Node


@dataclass(frozen=True, slots=True)
class Pow:
    """A power."""

    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Func:
    """A known function: `sqrt(x)` is root(x, 2), `log_b x` is log(x, b), `n!` is factorial(n)."""

    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Big:
    """A sum, product, integral or limit; `low` and `high` are its bounds where it has any."""

    name: str
    variable: str
    low: Node | None
    high: Node | None
    body: Node


@dataclass(frozen=True, slots=True)
class Relation:
    """A chain such as `a < x <= b`; one operator fewer than sides.

    Operators: `=`, `!=`, `<`, `>`, `<=`, `>=`, `~` (approximately), `in`, `notin`, `equiv`.
    """

    operators: tuple[str, ...]
    sides: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """Items between brackets: `(`, `[`, `<`, `set` (escaped braces), or `` for a bare list.

    `joint` says how a bare list was joined where it was by words: `and`, `or`.
    """

    left: str
    items: tuple[Node, ...]
    right: str
    joint: str = ""


@dataclass(frozen=True, slots=True)
class SetOf:
    """A set operation (`cup`, `cap`, `minus`) on two sets."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Builder:
    """`{variable | condition}`."""

    variable: Node
    condition: Node


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Words, in lower case and single-spaced, without a leading article."""

    words: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value with a unit as it is written."""

    value: Node
    unit: str


@dataclass(frozen=True, slots=True)
class Percent:
    """A value in hundredths."""

    value: Node


@dataclass(frozen=True, slots=True)
class Degree:
    """An angle in degrees."""

    value: Node


@dataclass(frozen=True, slots=True)
class Based:
    """Digits in a stated base."""

    digits: str
    base: int

    @property
    def value(self) -> Fraction | None:
        """The number, None where a digit does not belong to the base."""
        whole, _, fraction = self.digits.partition(".")
        try:
            return Fraction(int(whole + fraction, self.base), self.base ** len(fraction))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day. `half` is `am`, `pm` or `` where the text does not say."""

    hour: int
    minute: int
    second: int
    half: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """`a : b : c`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A letter of a multiple choice, with the option's content where it is given."""

    letter: str
    content: Node | None


@dataclass(frozen=True, slots=True)
class Opaque:
    """Tokens that are no mathematics known here; equal only to the same tokens."""

    tokens: tuple[str, ...]


Node = (
    Num
    | Sym
    | Const
    | Add
    | Neg
    | PlusMinus
    | Mul
    | Div
    | Pow
    | Func
    | Big
    | Relation
    | Seq
    | SetOf
    | Builder
    | Matrix
    | Text
    | Quantity
    | Percent
    | Degree
    | Based
    | Clock
    | Ratio
    | Choice
    | Opaque
)
