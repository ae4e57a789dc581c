"""First-error credit on cases worked out by hand, and against the formula as loops."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterative_grpo.advantages.first_error import Rule
from iterative_grpo.normalize import Normalizer
from tests.iterative_grpo.advantages.oracle import Group, credit, groups, normalized


def written_out(group: Group, threshold: float) -> Group:
    deciding, places = [], []
    for output in group:
        place = None
        for k, reward in enumerate(output):
            if reward < threshold:
                place = k
                break
        places.append(place)
        deciding.append([output[len(output) - 1 if place is None else place]])
    advantages = []
    for output, place, (value,) in zip(group, places, normalized(deciding), strict=True):
        if place is None:
            advantages.append([value for _ in output])
        else:
            advantages.append([0.0 for _ in output])
            advantages[-1][place] = value
    return advantages


@given(groups, st.sampled_from([0.0, 0.3, 0.5, 2.0]))
def test_is_the_formula_written_out(group: Group, threshold: float) -> None:
    ours = Rule(threshold).credit([group], Normalizer())[0]
    for row, expected in zip(ours, written_out(group, threshold), strict=True):
        assert row == pytest.approx(expected, abs=1e-7)


def test_blame_falls_on_the_first_wrong_step_alone() -> None:
    right, wrong = credit("first_error", [[[1.0, 1.0], [1.0, 1.0, 0.0, 1.0, 0.0]]])[0]
    (plus,), (minus,) = normalized([[1.0], [0.0]])
    assert right == pytest.approx([plus, plus])
    assert wrong == pytest.approx([0.0, 0.0, minus, 0.0, 0.0])


@given(groups, st.lists(st.floats(0, 1), max_size=5))
def test_what_follows_an_error_does_not_matter(group: Group, tail: list[float]) -> None:
    broken = [[0.25], *group]
    longer = [[0.25, *tail], *group]
    before, after = credit("first_error", [broken])[0], credit("first_error", [longer])[0]
    assert after[0] == before[0] + [0.0] * len(tail)
    assert after[1:] == before[1:]


def test_a_reward_at_the_threshold_is_no_error() -> None:
    assert Rule() == Rule(0.5)
    assert Rule(0.5).first_error([0.5, 0.4]) == 1
    assert Rule(0.5).first_error([0.5, 0.5]) is None
