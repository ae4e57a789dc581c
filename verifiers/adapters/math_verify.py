r"""Math-Verify's two functions, for those who switch: ``verify(parse(gold), parse(response))``.

    from verifiers.adapters.math_verify import parse, verify
    verify(parse(r"$\frac{1}{2}$"), parse("So it is $0.5$."))  # True

The gold comes **first**, as there; ``verifiers.verify(response, answer)`` has it last. What
differs: ``parse`` finds the answer and keeps its text (no sympy object), ``verify`` raises
GoldError for a gold that cannot be read, where Math-Verify says False, and options that choose
extraction targets or tolerances do not exist: a ``Policy`` takes their place.
"""

import logging
from dataclasses import dataclass

from verifiers import check, conventions
from verifiers.extraction import visible
from verifiers.policy import STRICT, Policy
from verifiers.verdict import GoldError, Outcome

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """A text that was parsed: `extracted` is the answer found in `text`."""

    text: str
    extracted: str
    convention: str

    def __str__(self) -> str:
        return self.extracted


def parse(pred: str, *, convention: str = "math") -> list[Answer]:
    """Find the answer that a text states: a list of one, empty where there is none.

    Raises:
        TypeError: not a text.
        ValueError: unknown convention.
    """
    extracted = conventions.load(convention)(visible(pred)).text
    return [] if extracted is None else [Answer(pred, extracted, convention)]


def verify(
    gold: list[Answer] | Answer | str,
    target: list[Answer] | Answer | str,
    *,
    policy: Policy = STRICT,
    timeout_seconds: float = 0.8,
) -> bool:
    """Whether any target states any gold; the gold comes first.

    Raises:
        GoldError: a gold cannot be read, or there is none.
    """
    golds, targets = _answers(gold), _answers(target)
    if not golds:
        raise GoldError("", "parse() found no answer in it")
    for response in targets:
        for answer in golds:
            verdict = check.verify(
                response.text,
                answer.extracted,
                convention=response.convention,
                policy=policy,
                timeout=timeout_seconds,
            )
            if verdict.correct:
                return True
            if verdict.outcome is Outcome.TIMEOUT:
                _log.warning("no verdict, counted as unequal: %s", verdict.reason)
    return False


def _answers(given: list[Answer] | Answer | str) -> list[Answer]:
    match given:
        case str():
            return [Answer(given, given, "math")]
        case Answer():
            return [given]
        case _:
            return given
