"""Min-form credit against PURE's own transformation of rewards, at a temperature close to 0."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.iterative_grpo.advantages.oracle import Group, credit, groups, normalized, outputs, raw


def soft_returns(output: list[float], temperature: float = 1e-5) -> list[float]:
    """Weight the rewards by softmax(-r / T), then sum those at or after each step."""
    lowest = min(output)
    weights = [math.exp(-(reward - lowest) / temperature) for reward in output]
    weighted = [w / sum(weights) * r for w, r in zip(weights, output, strict=True)]
    returns = []
    for start in range(len(output)):
        total = 0.0
        for value in weighted[start:]:
            total += value
        returns.append(total)
    return returns


@given(outputs)
def test_is_the_limit_of_the_papers_transformation(output: list[float]) -> None:
    ours = credit("min", [[output]], raw)[0][0]
    assert ours == pytest.approx(soft_returns(output), abs=1e-9)


@given(groups)
def test_first_tokens_get_the_groups_normalised_minimum(group: Group) -> None:
    expected = normalized([[min(output)] for output in group])
    ours = credit("min", [group])[0]
    assert [steps[0] for steps in ours] == pytest.approx([v for (v,) in expected], abs=1e-7)


def test_nothing_after_the_worst_step() -> None:
    ours = credit("min", [[[0.9, 0.2, 0.8], [0.7, 0.6]]])[0]
    low, high = normalized([[0.2], [0.6]])
    assert ours[0] == pytest.approx([low[0], low[0], 0.0])
    assert ours[1] == pytest.approx([high[0], high[0]])


def test_equal_minima_share() -> None:
    assert credit("min", [[[0.5, 1.0, 0.5, 0.5]]], raw)[0][0] == pytest.approx(
        [0.5, 1 / 3, 1 / 3, 1 / 6]
    )


@given(groups, st.integers(0, 5), st.floats(0.001, 1.0))
def test_steps_above_the_minimum_do_not_matter(group: Group, place: int, more: float) -> None:
    padded = [list(output) for output in group]
    padded[0].insert(place, min(group[0]) + more)
    before, after = credit("min", [group])[0], credit("min", [padded])[0]
    assert after[0][0] == before[0][0]
    assert after[1:] == before[1:]
