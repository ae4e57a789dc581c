"""A solution is as good as its worst step, and what comes after that step gets nothing.

    m_i = min_k r_{i,k}        m~_i = (m_i - mean_i(m_i)) / std_i(m_i)

    A_{i,k} = m~_i * (minima of output i at or after step k) / (minima of output i)

which is m~_i up to the worst step and 0 after it where one step is the worst. Source: PURE
(arXiv:2504.15275), min-form credit: the value is the minimum of future rewards instead of their
sum, got by weighting the rewards with softmax(-r / T) before summing them. This is its limit for
T -> 0, in which equal minima share the weight.

Normalisation: each output brings one number, its minimum, so outputs of many steps do not weigh
more. It comes before the zeros are set: a 0 then means "as good as the group", while a reward of 0
would mean "worthless". PURE works at T = 0.1 and subtracts a leave-one-out mean by the tokens of a
step, since one by steps favoured outputs of few steps; one by outputs knows neither. With one end
it is `sum`.

Vulnerable to one-step collapse, since the minimum of fewer steps is higher; to whatever follows the
worst step, which is free; and to noise, for where all steps are about as good, chance says which is
the worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.advantages.sum import suffix_sums
from iterative_grpo.protocols import Normalize, Rewards


@dataclass(frozen=True, slots=True)
class Rule:
    """Group-normalised minimum, for the steps up to the worst one."""

    def credit(self, rewards_PGS: Rewards, normalize: Normalize) -> list[list[list[float]]]:
        """Return the step advantages (P, G, S)."""
        lowest = normalize([[[min(output)] for output in group] for group in rewards_PGS])
        return [
            [
                [value * share for share in minima_left(output)]
                for (value,), output in zip(values, group, strict=True)
            ]
            for values, group in zip(lowest, rewards_PGS, strict=True)
        ]


def minima_left(rewards: Sequence[float]) -> list[float]:
    """Return, for each step, the share of the output's minima that stand at or after it."""
    worst = min(rewards)
    left = suffix_sums([float(reward == worst) for reward in rewards])
    return [count / left[0] for count in left]
