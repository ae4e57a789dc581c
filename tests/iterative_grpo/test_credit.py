"""Credit of groups: what a rule returns is checked before anybody counts on its shape."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from iterative_grpo.advantages.sum import Rule
from iterative_grpo.credit import Credit, OddCredit
from iterative_grpo.normalize import Normalizer
from iterative_grpo.types import StepRewards


@dataclass(frozen=True, slots=True)
class Cut:
    """Returns less than it was given: groups, outputs or steps."""

    groups: int | None = None
    outputs: int | None = None
    steps: int | None = None

    def credit(
        self, rewards_PGS: list[list[list[float]]], normalize: object
    ) -> list[list[list[float]]]:
        return [
            [steps[: self.steps] for steps in group[: self.outputs]]
            for group in rewards_PGS[: self.groups]
        ]


REWARDS = [StepRewards((1, 2), (0.0, 1.0)), StepRewards((3,), (1.0,))] * 2


def test_outputs_come_back_in_their_order() -> None:
    found = Credit(Cut(), Normalizer()).advantages(REWARDS, 2)
    assert found == [[0.0, 1.0], [1.0]] * 2


def test_rewards_are_normalised_as_the_phase_says() -> None:
    for normalize in (Normalizer(), Normalizer("none")):
        found = Credit(Rule(), normalize).advantages(REWARDS[1::2] + REWARDS[:2], 4)
        ((values, *_),) = normalize([[[1.0], [1.0], [0.0, 1.0], [1.0]]])
        assert found[0] == values


@pytest.mark.parametrize("rule", [Cut(groups=1), Cut(outputs=1), Cut(steps=1)])
def test_a_rule_that_leaves_something_out_is_named(rule: Cut) -> None:
    with pytest.raises(OddCredit, match=r"credit rule .*test_credit returned .* for 2 groups"):
        Credit(rule, Normalizer()).advantages(REWARDS, 2)


@dataclass(frozen=True, slots=True)
class Gives:
    """Returns one value everywhere."""

    value: float

    def credit(self, rewards_PGS: list[list[list[float]]], normalize: object) -> object:
        return [[[self.value for _ in steps] for steps in group] for group in rewards_PGS]


def test_advantages_that_are_no_finite_numbers_are_the_rules_fault() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(OddCredit, match=f"test_credit returned {value} as an advantage"):
            Credit(Gives(value), Normalizer()).advantages(REWARDS, 2)


def test_numbers_of_numpy_become_pythons() -> None:
    rewards = StepRewards((1, 2), np.float32([0, 1]), {"model": np.float32([0, 1])})
    assert json.dumps([rewards.values, rewards.components["model"]]) == "[[0.0, 1.0], [0.0, 1.0]]"
    (found,) = Credit(Gives(np.float32(0.5)), Normalizer()).advantages([rewards], 1)
    assert json.dumps(found) == "[0.5, 0.5]"
