"""Credit assignment of a policy phase: a rule, and the normalisation of rewards it is given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import CreditRule, Normalize, Rewards
from iterative_grpo.types import StepRewards


class OddCredit(ValueError):
    """A credit rule that does not return one advantage, a finite number, for each step."""


def credit(rule: CreditRule, rewards_PGS: Rewards, normalize: Normalize) -> list[list[list[float]]]:
    """Return a rule's step advantages (P, G, S); OddCredit unless they fit the rewards."""
    advantages_PGS = rule.credit(rewards_PGS, normalize)
    shapes = [
        [[len(steps) for steps in group] for group in found]
        for found in (rewards_PGS, advantages_PGS)
    ]
    if shapes[0] != shapes[1]:
        raise OddCredit(
            f"credit rule {type(rule).__module__} returned advantages of the wrong shape: for "
            f"{len(rewards_PGS)} groups with these numbers of steps {shapes[0][:2]}... it gave "
            f"{len(advantages_PGS)} with {shapes[1][:2]}...; a step needs one advantage"
        )
    found_PGS = [[[float(a) for a in steps] for steps in group] for group in advantages_PGS]
    odd = [a for group in found_PGS for steps in group for a in steps if not math.isfinite(a)]
    if odd:
        raise OddCredit(
            f"credit rule {type(rule).__module__} returned {odd[0]} as an advantage; expected "
            "finite numbers"
        )
    return found_PGS


@dataclass(frozen=True, slots=True)
class Credit:
    """How step rewards become token advantages: the rule and the normalisation it is given."""

    rule: CreditRule
    normalize: Normalizer

    def advantages(self, rewards: Sequence[StepRewards], group_size: int) -> list[list[float]]:
        """Return the step advantages of consecutive groups of `group_size` outputs (N, S)."""
        values = [list(reward.values) for reward in rewards]
        groups = [values[i : i + group_size] for i in range(0, len(values), group_size)]
        credited = credit(self.rule, groups, self.normalize)
        return [output for group in credited for output in group]
