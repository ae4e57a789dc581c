"""What the tests of the rules share: random groups, and the paper's normalisation as loops."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from iterative_grpo import plugins
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import Normalize, Rewards

Group = list[list[float]]

rewards = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
outputs = st.lists(rewards, min_size=1, max_size=6)
groups = st.lists(outputs, min_size=1, max_size=6)


def normalized(group: Group, eps: float = 1e-4) -> Group:
    """(r - mean) / (std + eps) over all values of a group; zeros where all are equal."""
    everything = []
    for output in group:
        for value in output:
            everything.append(value)
    if not everything or max(everything) == min(everything):
        return [[0.0 for _ in output] for output in group]
    mean = sum(everything) / len(everything)
    squares = 0.0
    for value in everything:
        squares += (value - mean) ** 2
    std = math.sqrt(squares / (len(everything) - 1))
    return [[(value - mean) / (std + eps) for value in output] for output in group]


def credit(
    name: str, rewards_PGS: Rewards, normalize: Normalize | None = None
) -> list[list[list[float]]]:
    rule = plugins.find("iterative_grpo.advantages", name).Rule()
    return rule.credit(rewards_PGS, normalize or Normalizer())  # type: ignore[no-any-return]


def raw(rewards_PGS: Rewards) -> list[list[list[float]]]:
    """No normalisation, so that a rule's own arithmetic is seen alone."""
    return [[list(output) for output in group] for group in rewards_PGS]
