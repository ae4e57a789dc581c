"""The words of the step checker: what it finds in a text, and what it says of it."""

import enum
from dataclasses import dataclass

from verifiers.steps.tokens import Kind, Token


class StepOutcome(enum.Enum):
    """What the checker found."""

    RIGHT = "right"
    WRONG = "wrong"
    UNCHECKED = "unchecked"


class Rounding(enum.Enum):
    """When a rounded number counts as equal to an exact value."""

    EXACT = "exact"
    """Never: `1 / 3 = 0.33` is wrong."""
    DECIMALS = "decimals"
    """A decimal that is rounded at its last digit; an integer must be exact. The default."""
    TRUNCATED = "truncated"
    """Also a decimal cut off at its last digit: `2 / 3 = 0.66`."""
    INTEGERS = "integers"
    """Also an integer rounded to the nearest: `10 / 3 = 3`."""


@dataclass(frozen=True, slots=True)
class StepVerdict:
    """The verdict on ``text[start:end]``; ``detail`` says what was computed, or why nothing was."""

    start: int
    end: int
    outcome: StepOutcome
    detail: str


@dataclass(frozen=True, slots=True)
class Run:
    """The tokens of one side, and why its value may not be what was meant."""

    tokens: tuple[Token, ...]
    start: int
    end: int
    doubt: str | None
    after_word: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """Sides joined by relations: ``relations[i]`` stands between sides ``i`` and ``i + 1``."""

    sides: tuple[Run, ...]
    relations: tuple[Kind, ...]
