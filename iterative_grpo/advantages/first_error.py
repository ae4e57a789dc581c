"""A wrong solution answers for its first wrong step alone, a right one for all its steps.

    f_i = first k with r_{i,k} < threshold

    u_i = r_{i,f_i}, or r_{i,K_i} where no step is below        u~_i = (u_i - mean_i) / std_i

    A_{i,k} = u~_i for k = f_i, 0 for all other k;        u~_i for all k where there is no f_i

The first error as the thing to find is that of PRM800K, whose labels end there (arXiv:2305.20050),
and of ProcessBench (arXiv:2412.06559); the rule is this project's. The steps before the error are
right, and those after it stand on a mistake, so that their scores say little about them.

Normalisation: each output brings one number, the reward of the step that decided it. With one end
it is `sum`.

For rewards in [0, 1] that mean "right so far". Vulnerable to the threshold: a model that is not
calibrated finds errors everywhere or nowhere. What follows an error is free, stopping late too. In
a group without a right solution the mildest error gets a positive advantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.protocols import Normalize, Rewards

SHARES_ONLY = True
"""The threshold means something only for rewards in [0, 1], whatever question they belong to."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Group-normalised reward of the deciding step, given to the steps that it decides on.

    A step is wrong when its reward is below `threshold`.
    """

    threshold: float = 0.5

    def credit(self, rewards_PGS: Rewards, normalize: Normalize) -> list[list[list[float]]]:
        """Return the step advantages (P, G, S)."""
        errors = [[self.first_error(output) for output in group] for group in rewards_PGS]
        deciding = [
            [
                [output[-1 if error is None else error]]
                for output, error in zip(group, found, strict=True)
            ]
            for group, found in zip(rewards_PGS, errors, strict=True)
        ]
        return [
            [
                [value if error in (None, step) else 0.0 for step in range(len(output))]
                for (value,), output, error in zip(values, group, found, strict=True)
            ]
            for values, group, found in zip(normalize(deciding), rewards_PGS, errors, strict=True)
        ]

    def first_error(self, rewards: Sequence[float]) -> int | None:
        """Return which step is the first below the threshold, or None."""
        return next((k for k, reward in enumerate(rewards) if reward < self.threshold), None)
