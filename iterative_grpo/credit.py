"""Credit assignment of a policy phase: a rule, and the normalisation of rewards it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import CreditRule
from iterative_grpo.types import StepRewards


@dataclass(frozen=True, slots=True)
class Credit:
    """How step rewards become token advantages: the rule and the normalisation it is given."""

    rule: CreditRule
    normalize: Normalizer

    def advantages(self, rewards: Sequence[StepRewards], group_size: int) -> list[list[float]]:
        """Return the step advantages of consecutive groups of `group_size` outputs (N, S)."""
        values = [list(reward.values) for reward in rewards]
        groups = [values[i : i + group_size] for i in range(0, len(values), group_size)]
        credited = self.rule.credit(groups, self.normalize)
        return [output for group in credited for output in group]
