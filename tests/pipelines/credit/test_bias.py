"""Correlations against numpy's, and biases of rules on solutions that differ in length alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterative_grpo import plugins
from iterative_grpo.credit import credit
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import CreditRule
from iterative_grpo.rollouts import Rollout
from iterative_grpo.types import Finish, StepRewards
from pipelines import building
from pipelines.credit.bias import Bias, biases, correlation
from pipelines.credit.comparison import RULES, Comparison, Solution, credited
from pipelines.credit.stored import Generation

pairs = st.lists(st.tuples(st.integers(-999, 999), st.integers(0, 50)), min_size=3, max_size=40)


@given(pairs)
def test_is_numpys_correlation(points: list[tuple[int, int]]) -> None:
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
    ours = correlation(xs, ys)
    if len(set(xs)) == 1 or len(set(ys)) == 1:
        assert ours is None
    else:
        assert ours == pytest.approx(np.corrcoef(xs, ys)[0, 1], abs=1e-9)


def test_two_points_are_always_on_a_line() -> None:
    assert correlation([0.0, 1.0], [3.0, 5.0]) is None


def rules(*names: str) -> dict[str, CreditRule]:
    return {name: building.rule(name, {}) for name in names}


def rollout(
    sample: int, rewards: list[float], correct: bool | None, tokens: int | None = None
) -> Rollout:
    ends = tuple(range(1, len(rewards) + 1))
    return Rollout(
        problem_id="task/0",
        sample=sample,
        text="x" * len(rewards),
        tokens=tokens or 10 * len(rewards),
        finish=Finish.STOP,
        rewards=StepRewards(ends, tuple(rewards)),
        advantages=(0.0,) * len(rewards),
        correct=correct,
    )


def solved(group: tuple[Rollout, ...], *names: str) -> list[Solution]:
    rewards = [list(each.rewards.values) for each in group]
    given = {name: credit(rule, [rewards], Normalizer()) for name, rule in rules(*names).items()}
    return credited(Generation(1, (group,)), given)


def padded_group(correct: bool | None = True) -> list[Bias]:
    """Right solutions that say the same in 2 to 7 good steps, and wrong ones of two bad steps."""
    right = [rollout(k, [0.9] * k + [1.0], correct) for k in range(1, 7)]
    wrong = [rollout(k, [0.1, 0.0], False) for k in range(7, 13)]
    names = tuple(plugins.names(RULES))
    solutions = solved((*right, *wrong), *names)
    return biases(Comparison(1, names, "sum", tuple(solutions), ()))


def test_padding_pays_under_sum_and_under_no_other_rule() -> None:
    found = {b.rule: b for b in padded_group() if b.kind == "correct"}
    assert found["sum"].steps == pytest.approx(1.0, abs=0.01)
    assert found["sum"].tokens == found["sum"].steps, "every step has as many tokens"
    for rule in ("clip", "delta", "first_error", "min", "outcome"):
        assert found[rule].steps is None, "the first token's advantage does not vary"


def test_kinds_are_counted_apart() -> None:
    found = [b for b in padded_group() if b.rule == "outcome"]
    assert {b.kind: b.solutions for b in found} == {"correct": 6, "incorrect": 6, "all": 12}
    means = {b.kind: b.mean for b in found}
    assert means["correct"] == pytest.approx(-means["incorrect"])
    assert means["correct"] > 0.9
    assert means["all"] == pytest.approx(0.0, abs=1e-12)
    unverified = [b for b in padded_group(None) if b.rule == "outcome"]
    assert {b.kind: b.solutions for b in unverified} == {"incorrect": 6, "unverified": 6, "all": 12}


def test_tokens_are_not_steps() -> None:
    """Outputs of one step: only their tokens vary, and with them the reward."""
    tokens, values = [12, 30, 7, 55], [0.2, 0.5, 0.3, 0.9]
    group = tuple(
        rollout(k, [value], True, count)
        for k, (value, count) in enumerate(zip(values, tokens, strict=True))
    )
    solutions = solved(group, "sum")
    found = biases(Comparison(1, ("sum",), "sum", tuple(solutions), ()))
    assert {bias.steps for bias in found} == {None}
    assert found[0].tokens == pytest.approx(np.corrcoef(values, tokens)[0, 1])
