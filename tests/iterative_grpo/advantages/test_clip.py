"""Clip credit against its formula as loops, and the bound that it is made for."""

from __future__ import annotations

import pytest
from hypothesis import given

from tests.iterative_grpo.advantages.oracle import Group, credit, groups, normalized


def written_out(group: Group) -> Group:
    last = normalized([[output[-1]] for output in group])
    before = normalized([output[:-1] for output in group])
    advantages = []
    for i, output in enumerate(group):
        row = []
        for k in range(len(output)):
            total = last[i][0]
            for j in range(k, len(output) - 1):
                if before[i][j] < 0:
                    total += before[i][j]
            row.append(total)
        advantages.append(row)
    return advantages


@given(groups)
def test_is_the_formula_written_out(group: Group) -> None:
    for ours, expected in zip(credit("clip", [group])[0], written_out(group), strict=True):
        assert ours == pytest.approx(expected, abs=1e-7)


@given(groups)
def test_no_step_raises_an_advantage_above_the_outcomes(group: Group) -> None:
    outcome = credit("outcome", [group])[0]
    for ours, (bound, *_) in zip(credit("clip", [group])[0], outcome, strict=True):
        assert all(value <= bound for value in ours)
        assert ours == sorted(ours), "each step behind may only have cost"


def test_steps_above_the_mean_earn_nothing() -> None:
    good, bad = credit("clip", [[[0.9, 0.8, 1.0], [0.1, 0.2, 1.0]]])[0]
    assert good == [0.0, 0.0, 0.0]
    costs = normalized([[0.9, 0.8], [0.1, 0.2]])[1]
    assert bad == pytest.approx([costs[0] + costs[1], costs[1], 0.0])
