"""verify(): extract the answer, compare cheaply, and only then compare symbolically."""

from __future__ import annotations

import functools
import warnings

from verifiers import conventions
from verifiers.equality import compare_cheap
from verifiers.extraction import gold_text, has_turns, is_completion, visible
from verifiers.isolated import judge, start_ahead
from verifiers.policy import STRICT, Policy
from verifiers.verdict import GoldError, Outcome, ParseError, SwappedArgumentsWarning, Verdict


def verify(
    response: str,
    answer: str,
    *,
    convention: str = "math",
    policy: Policy = STRICT,
    timeout: float = 0.8,
) -> Verdict:
    """Does `response` state the gold `answer`?

    response: a whole completion, or a bare answer. answer: the gold, bare, in math delimiters, or
    the last box of a solution. timeout: seconds for the symbolic stage, the only one that is not
    bounded by the size caps; past it the verdict is TIMEOUT.

    Raises GoldError for a gold that cannot be read, UnknownConvention for an unknown one, and
    TypeError where either text is not a string.
    """
    return _verify(response, answer, convention, policy, timeout)


def verify_cheaply(
    response: str, answer: str, *, convention: str = "math", policy: Policy = STRICT
) -> Verdict | None:
    """`verify` as far as it goes in this process; None where the symbolic stage must decide.

    Raises as `verify` does.
    """
    try:
        return _verify(response, answer, convention, policy, None)
    except _Undecided:
        return None


class _Undecided(Exception):
    """The cheap stages leave the pair open, and no time is given for more."""


def _verify(
    response: str, answer: str, convention: str, policy: Policy, timeout: float | None
) -> Verdict:
    if not isinstance(response, str) or not isinstance(answer, str):
        raise TypeError(
            f"verify(response, answer) takes two strings, got {type(response).__name__} and "
            f"{type(answer).__name__}"
        )
    found = conventions.load(convention)(visible(response))
    gold = _remembered_gold(answer) if len(answer) <= _LONGEST_KEPT else gold_text(answer)
    if not gold:
        if found.source == "box" and not found.text and not answer.strip():
            # Two of MATH's own solutions box nothing: an empty box says what they say. Any other
            # response to an empty gold is the data's error.
            return Verdict(Outcome.CORRECT, "", "same empty box")
        raise GoldError(answer, "it states no answer")
    if len(answer) > _LONGEST_USUAL_GOLD and len(response) < _LONGEST_BARE_ANSWER:
        _look_for_swap(response, answer)
    if not found.text:
        return Verdict(Outcome.NO_ANSWER, None, found.source)
    verdict = _judge(found.text, gold, policy, timeout)
    if found.alternative is not None and not verdict.correct:
        other = _judge(found.alternative, gold, policy, timeout)
        return other if other.correct else verdict
    return verdict


_LONGEST_USUAL_GOLD = 120
_LONGEST_BARE_ANSWER = 80


def _look_for_swap(response: str, answer: str) -> None:
    """Catches `verify(gold, response)` where the two texts give it away."""
    if is_completion(response):
        return
    if has_turns(answer):
        raise GoldError(
            answer,
            "it is a completion with thoughts or turns; the call is verify(response, answer), "
            "were the arguments swapped?",
        )
    if is_completion(answer):
        warnings.warn(
            "the answer is a whole completion and the response is a bare answer: "
            "the call is verify(response, answer), were the arguments swapped?",
            SwappedArgumentsWarning,
            stacklevel=4,
        )


_LONGEST_KEPT = 1_000
_remembered_gold = functools.lru_cache(maxsize=8192)(gold_text)


def _judge(text: str, gold: str, policy: Policy, timeout: float | None) -> Verdict:
    if text == gold:
        return Verdict(Outcome.CORRECT, text, "same text")
    if timeout is not None and "\\" in gold + text:
        start_ahead()
    try:
        same = compare_cheap(text, gold, policy)
    except ParseError as error:
        return Verdict(Outcome.UNPARSED, text, str(error))
    if same is not None:
        return Verdict(Outcome.CORRECT if same else Outcome.INCORRECT, text, "structure")
    if timeout is None:
        raise _Undecided
    return judge(text, gold, policy, timeout)
