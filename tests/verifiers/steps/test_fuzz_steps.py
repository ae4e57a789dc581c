"""The step checker on hostile text: verdicts inside the text, in order, soon."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verifiers.hostile_text import HOSTILE, PIECES, soon
from verifiers.steps import Rounding, StepOutcome, check_spans, check_steps

EQUALITIES = st.lists(st.sampled_from([*PIECES, "=", "= ", " = 4", "2+2 = 4"]), max_size=40).map(
    "".join
)


@given(text=HOSTILE | EQUALITIES, rounding=st.sampled_from(Rounding))
@settings(max_examples=800)
def test_steps_lie_in_the_text_in_order(text: str, rounding: Rounding) -> None:
    with soon(text):
        steps = check_steps(text, rounding=rounding)
    assert all(0 <= step.start <= step.end <= len(text) for step in steps)
    assert [step.end for step in steps] == sorted(step.end for step in steps)
    assert all(len(step.detail) < 10_000 for step in steps)
    # One verdict a sign at most: nothing is said of what is not there.
    assert len(steps) <= text.count("=") + text.count("\u2248") + text.count("\\approx")


@given(text=EQUALITIES, data=st.data())
@settings(max_examples=300)
def test_any_cut_keeps_every_fault(text: str, data: st.DataObject) -> None:
    if not text:
        return
    cuts = data.draw(st.sets(st.integers(1, len(text)), max_size=6)) | {len(text)}
    spans = check_spans(text, sorted(cuts))
    assert [span.end for span in spans] == sorted(cuts)
    for outcome in (StepOutcome.WRONG, StepOutcome.RIGHT):
        found = [step for step in check_steps(text) if step.outcome is outcome]
        shown = [span for span in spans if span.outcome is outcome]
        assert len(shown) <= len(found)
        if outcome is StepOutcome.WRONG:
            assert bool(shown) == bool(found)


@given(st.integers(0, 999), st.integers(0, 999), st.sampled_from("+-*"), st.integers(-2, 2))
def test_a_plain_step_is_judged_whatever_stands_around_it(
    left: int, right: int, operator: str, error: int
) -> None:
    value = {"+": left + right, "-": left - right, "*": left * right}[operator] + error
    step = f"{left} {operator} {right} = {value}"
    for text in (step, f"So it is {step}.", f"x\n{step}\ny", f"$ {step} $", f"<<{step}>>"):
        (verdict,) = check_steps(text)
        expected = StepOutcome.RIGHT if error == 0 else StepOutcome.WRONG
        assert verdict.outcome is expected, (text, verdict)
