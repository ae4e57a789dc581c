"""Delta credit against the paper's differences, written out and summed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.iterative_grpo.advantages.oracle import Group, credit, groups, normalized, outputs, raw


def deltas(output: list[float]) -> list[float]:
    """The paper's delta rewards of K steps: the last one is left to the success reward."""
    made = []
    for k in range(1, len(output) + 1):
        if k < len(output) - 1:
            made.append(output[k - 1] - output[k])
        elif k == len(output) - 1:
            made.append(output[k - 1])
        else:
            made.append(0.0)
    return made


@given(outputs)
def test_telescopes(output: list[float]) -> None:
    gains = deltas(output)
    returns = [sum(gains[k:]) for k in range(len(gains))]
    ours = credit("delta", [[output]], raw)[0][0]
    assert ours == pytest.approx([output[-1] + value for value in returns], abs=1e-9)


@given(groups)
def test_is_the_formula_written_out(group: Group) -> None:
    last = normalized([[output[-1]] for output in group])
    before = normalized([output[:-1] for output in group])
    for ours, (outcome,), own in zip(credit("delta", [group])[0], last, before, strict=True):
        expected = [outcome + value for value in own] + [outcome]
        assert ours == pytest.approx(expected, abs=1e-7)


@given(outputs.filter(lambda output: len(output) > 1), st.integers(1, 50))
def test_repeating_a_step_gains_nothing(output: list[float], times: int) -> None:
    padded = output[:-1] + [output[-2]] * times + output[-1:]
    before, after = (credit("delta", [[it]], raw)[0][0] for it in (output, padded))
    assert after[: len(output) - 1] == before[:-1]
    assert after[-1] == before[-1]


def test_sum_does_gain_by_repeating_a_step() -> None:
    """The trap that the rule is there for is a trap."""
    short, long = ([0.9] * steps + [1.0] for steps in (1, 9))
    bad = [0.1, 0.0]
    assert credit("sum", [[long, bad]])[0][0][0] > credit("sum", [[short, bad]])[0][0][0]
    assert credit("delta", [[long, bad]])[0][0][0] < credit("delta", [[short, bad]])[0][0][0]
