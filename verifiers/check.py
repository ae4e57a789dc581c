"""verify(): extract the answer, compare cheaply, and only then compare symbolically."""

from __future__ import annotations

import functools

from verifiers import conventions
from verifiers.equality import compare_cheap
from verifiers.extraction import Extracted, gold_text, visible
from verifiers.policy import STRICT, Policy
from verifiers.verdict import GoldError, Outcome, ParseError, Verdict


def verify(
    response: str,
    answer: str,
    *,
    convention: str = "math",
    policy: Policy = STRICT,
    timeout: float = 1.0,
) -> Verdict:
    """Does `response` state the gold `answer`?

    response: a whole completion, or a bare answer. answer: the gold, bare, in math delimiters, or
    the last box of a solution. timeout: seconds for the symbolic stage, the only one that is not
    bounded by the size caps; past it the verdict is TIMEOUT.

    Raises GoldError for a gold that cannot be read, ValueError for an unknown convention, and
    TypeError where either text is not a string.
    """
    if not isinstance(response, str) or not isinstance(answer, str):
        raise TypeError(
            f"verify(response, answer) takes two strings, got {type(response).__name__} and "
            f"{type(answer).__name__}"
        )
    found = conventions.load(convention)(visible(response))
    gold = _gold(answer)
    if found.text is None:
        return Verdict(Outcome.NO_ANSWER, None, found.source)
    verdict = _judge(found.text, gold, found, policy, timeout)
    if found.alternative is not None and not verdict.correct:
        other = _judge(found.alternative, gold, found, policy, timeout)
        return other if other.correct else verdict
    return verdict


@functools.lru_cache(maxsize=8192)
def _gold(answer: str) -> str:
    gold = gold_text(answer)
    if not gold:
        raise GoldError(answer, "it states no answer")
    return gold


def _judge(text: str, gold: str, found: Extracted, policy: Policy, timeout: float) -> Verdict:
    if text == gold:
        return Verdict(Outcome.CORRECT, text, "same text")
    try:
        same = compare_cheap(text, gold, policy)
    except ParseError as error:
        return Verdict(Outcome.UNPARSED, text, str(error))
    stage = "structure"
    if same is None:
        return _symbolic(text, gold, policy, timeout)
    return Verdict(Outcome.CORRECT if same else Outcome.INCORRECT, text, stage)


def _symbolic(text: str, gold: str, policy: Policy, timeout: float) -> Verdict:
    from verifiers.symbolic import compare_symbolic

    same = compare_symbolic(text, gold, policy)
    return Verdict(Outcome.CORRECT if same else Outcome.INCORRECT, text, "symbolic")
