"""The parser and the cheap comparison on hostile text: typed outcomes, soon."""

from hypothesis import given, settings

from tests.verifiers.hostile_text import HOSTILE, PIECEWISE, soon
from verifiers import EXACT, LENIENT, STRICT, GoldError, Outcome, ParseError, Verdict
from verifiers.check import verify_cheaply
from verifiers.reading import read

POLICIES = (STRICT, EXACT, LENIENT)


@given(text=HOSTILE)
@settings(max_examples=500)
def test_the_parser_reads_or_refuses(text: str) -> None:
    with soon(text):
        try:
            first = read(text)
        except ParseError as error:
            said = str(error)
            assert len(said) < 1_000, said
            return
    assert read(text) == first, "the same text reads the same"


def _outcome(response: str, gold: str, index: int) -> Outcome | None:
    verdict = verify_cheaply(response, gold, policy=POLICIES[index % 3])
    assert verdict is None or isinstance(verdict, Verdict)
    if verdict is None:
        return None
    assert (verdict.extracted is None) == (verdict.outcome is Outcome.NO_ANSWER)
    assert verdict.outcome is not Outcome.TIMEOUT
    return verdict.outcome


@given(response=HOSTILE, gold=PIECEWISE)
@settings(max_examples=500)
def test_any_pair_ends_in_a_typed_outcome(response: str, gold: str) -> None:
    for index in range(3):
        with soon(response):
            try:
                _outcome(response, gold, index)
            except GoldError as error:
                said = str(error)
                assert len(said) < 1_000, said


@given(response=HOSTILE)
@settings(max_examples=300)
def test_noise_is_never_the_answer(response: str) -> None:
    # No sequence of the pieces spells this number, so whoever says CORRECT is wrong.
    if "31337" not in response:
        with soon(response):
            assert _outcome(response, "31337.271828", 0) is not Outcome.CORRECT


@given(text=PIECEWISE)
@settings(max_examples=300)
def test_a_boxed_gold_is_correct_or_the_gold_is_refused(text: str) -> None:
    if text.count("{") != text.count("}") or "boxed" in text or "fbox" in text:
        return
    if any(mark in text for mark in "<\\$#\n\u200b\x00") or not text.strip():
        return
    try:
        outcome = _outcome(f"So it is $\\boxed{{{text}}}$.", text, 0)
    except GoldError:
        return
    assert outcome in (
        Outcome.CORRECT,
        Outcome.INCORRECT,
        Outcome.UNPARSED,
        None,
        Outcome.NO_ANSWER,
    )
