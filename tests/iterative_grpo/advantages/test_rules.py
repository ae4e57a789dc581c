"""Credit rules against the paper's formulas written out as loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iterative_grpo import plugins
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import Group, Rewards

values = st.floats(-3, 3, allow_nan=False).map(lambda v: round(v, 3))
outputs = st.lists(values, min_size=1, max_size=6)
groups = st.lists(outputs, min_size=2, max_size=6)
batches = st.lists(groups, min_size=1, max_size=3)


def double_loop(group: Group, eps: float = 1e-4) -> list[list[float]]:
    """Write §4.1.3 out: normalise by all steps of all outputs, then sum what follows."""
    everything = [r for output in group for r in output]
    mean = sum(everything) / len(everything)
    variance = sum((r - mean) ** 2 for r in everything) / max(len(everything) - 1, 1)
    std = math.sqrt(variance)
    advantages = []
    for output in group:
        row = []
        for start in range(len(output)):
            total = 0.0
            for reward in output[start:]:
                total += (reward - mean) / (std + eps)
            row.append(total)
        advantages.append(row)
    return advantages


def credit(name: str, rewards: Rewards, **normalizer: float) -> list[list[list[float]]]:
    rule = plugins.find("iterative_grpo.advantages", name).Rule()
    credited: list[list[list[float]]] = rule.credit(rewards, Normalizer(**normalizer))  # type: ignore[arg-type]
    return credited


@given(batches)
def test_sum_is_the_papers_double_loop(batch: list[list[list[float]]]) -> None:
    for ours, group in zip(credit("sum", batch), batch, strict=True):
        for row, expected in zip(ours, double_loop(group), strict=True):
            assert row == pytest.approx(expected, rel=1e-9, abs=1e-7)


@given(st.lists(values, min_size=2, max_size=16))
def test_with_one_end_sum_is_trls_group_normalisation(rewards: list[float]) -> None:
    tensor = torch.tensor(rewards, dtype=torch.float64)
    expected = (tensor - tensor.mean()) / (tensor.std() + 1e-4)
    ours = credit("sum", [[[r] for r in rewards]])
    assert [row[0] for row in ours[0]] == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("name", plugins.names("iterative_grpo.advantages"))
@given(batch=batches)
def test_every_rule_keeps_the_shape_and_stays_finite(
    name: str, batch: list[list[list[float]]]
) -> None:
    ours = credit(name, batch)
    assert [[len(o) for o in g] for g in ours] == [[len(o) for o in g] for g in batch]
    assert all(math.isfinite(a) for g in ours for o in g for a in o)


@pytest.mark.parametrize("name", plugins.names("iterative_grpo.advantages"))
def test_a_group_without_spread_gets_nothing(name: str) -> None:
    assert credit(name, [[[0.7], [0.7], [0.7]]]) == [[[0.0], [0.0], [0.0]]]
    ragged = credit(name, [[[0.3, 0.3, 0.3], [0.3]], [[0.0], [1.0]]])
    assert ragged[0] == [[0.0, 0.0, 0.0], [0.0]]
    assert ragged[1][0][0] < 0 < ragged[1][1][0], "the group beside it still learns"


@pytest.mark.parametrize("name", plugins.names("iterative_grpo.advantages"))
@given(values=st.lists(values, min_size=1, max_size=9))
def test_with_one_end_every_rule_is_sum(name: str, values: list[float]) -> None:
    group = [[value] for value in values]
    assert credit(name, [group]) == credit("sum", [group])


@pytest.mark.parametrize("name", plugins.names("iterative_grpo.advantages"))
@given(batch=batches)
def test_groups_do_not_touch_each_other(name: str, batch: list[list[list[float]]]) -> None:
    assert credit(name, batch) == [credit(name, [group])[0] for group in batch]


@pytest.mark.parametrize("name", plugins.names("iterative_grpo.advantages"))
@given(group=groups, data=st.data())
def test_the_order_of_outputs_does_not_matter(
    name: str, group: list[list[float]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(group))))
    ours = credit(name, [group])[0]
    shuffled = credit(name, [[group[i] for i in order]])[0]
    assert shuffled == [ours[i] for i in order]


INVARIANT = [n for n in plugins.names("iterative_grpo.advantages") if n != "first_error"]
"""Only the differences of rewards matter to these; `first_error` has an absolute threshold."""


@pytest.mark.parametrize("name", INVARIANT)
@given(group=groups, shift=st.integers(-4, 4), scale=st.integers(1, 9))
def test_shift_and_scale_of_rewards_do_not_matter(
    name: str, group: list[list[float]], shift: int, scale: int
) -> None:
    moved = [[1000 * scale * (value + shift) for value in output] for output in group]
    ours = credit(name, [[[1000 * v for v in output] for output in group]])[0]
    for row, expected in zip(credit(name, [moved])[0], ours, strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_the_std_floor_silences_a_group_and_leaves_others() -> None:
    quiet, loud = [[0.50], [0.51]], [[0.0], [1.0]]
    ours = credit("sum", [quiet, loud], std_floor=0.1)
    assert ours[0] == [[0.0], [0.0]]
    assert [row[0] for row in ours[1]] == pytest.approx([row[0] for row in double_loop(loud)])


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_the_std_floor_is_of_each_groups_deviation_whatever_divides(scale: Any) -> None:
    quiet, loud = [[0.0], [1.0], [2.0]], [[0.0], [10.0], [20.0]]
    at, above = (Normalizer(scale, std_floor=floor)([quiet, loud]) for floor in (1.0, 1.01))
    assert at[0][0][0] < 0 < at[0][2][0]
    assert above == [[[0.0], [0.0], [0.0]], at[1]]


def test_outcome_gives_every_step_the_last_reward() -> None:
    ours = credit("outcome", [[[9.0, -9.0, 1.0], [0.0]]])
    one = double_loop([[1.0], [0.0]])
    assert ours == [[[one[0][0]] * 3, [one[1][0]]]]


def test_batch_scale_divides_by_the_whole_batchs_deviation() -> None:
    batch = [[[0.0], [1.0]], [[10.0], [11.0]]]
    std = torch.tensor([0.0, 1.0, 10.0, 11.0]).std().item()
    normalized = Normalizer(scale="batch")(batch)
    assert normalized[1][1][0] == pytest.approx(0.5 / (std + 1e-4), rel=1e-5)
    assert Normalizer(scale="none")(batch)[1][1][0] == 0.5
