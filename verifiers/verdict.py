"""The verifier's words: how a check came out, and why a gold answer may be refused."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Outcome(enum.Enum):
    """The five ways in which checking a response can end.

    They are never merged: only a reward decides that the last four are all worth zero.
    """

    CORRECT = "correct"
    INCORRECT = "incorrect"
    NO_ANSWER = "no_answer"
    UNPARSED = "unparsed"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one check.

    `extracted` is the text taken for the final answer, None where the response states none.
    `reason` names the stage that decided, for people who read logs; nothing branches on it.
    """

    outcome: Outcome
    extracted: str | None
    reason: str = ""

    @property
    def correct(self) -> bool:
        """Whether the outcome is CORRECT."""
        return self.outcome is Outcome.CORRECT


class SwappedArgumentsWarning(UserWarning):
    """The answer looks like a completion, and the response like a gold answer."""


class ParseError(ValueError):
    """A text that cannot be read as an answer: empty, too large, too deep or malformed."""


class GoldError(ValueError):
    """A gold answer that cannot be read. The data are at fault, so no verdict is given."""

    def __init__(self, gold: str, why: str) -> None:
        shown = gold if len(gold) <= 200 else f"{gold[:200]}... ({len(gold)} characters)"
        super().__init__(
            f"gold answer {shown!r} cannot be used: {why}. Expected a final answer such as '42', "
            "'\\\\frac{1}{2}' or '(1, 2)'; correct the data set or drop the row."
        )
        self.gold = gold
        self.why = why
