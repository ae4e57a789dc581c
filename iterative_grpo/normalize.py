"""Group-relative normalisation (arXiv:2402.03300 §4.1.2 and §4.1.3).

For process supervision the paper takes mean and standard deviation over *all steps of all G
outputs* of the group; for outcome supervision that is the plain group normalisation. The paper
gives no epsilon and no rule for groups without spread; here: sample standard deviation plus 1e-4
as TRL has it, and a group whose deviation lies below `std_floor` gets zeros, since dividing by it
would only amplify the noise of a learned reward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from iterative_grpo.protocols import Group, Rewards


@dataclass(frozen=True, slots=True)
class Normalizer:
    """Subtracts the group's mean and divides by a standard deviation.

    `scale` says whose deviation: the group's (the paper), the whole batch's (arXiv:2508.08221), or
    none (Dr. GRPO, arXiv:2503.20783).
    """

    scale: Literal["group", "batch", "none"] = "group"
    eps: float = 1e-4
    std_floor: float = 0.0

    def __call__(self, values_PGS: Rewards) -> list[list[list[float]]]:
        """Return the normalised values in the shape of `values_PGS` (P, G, S)."""
        batch_std = deviation([v for group in values_PGS for v in pool(group)])
        return [self._normalize(group, batch_std) for group in values_PGS]

    def _normalize(self, group: Group, batch_std: float) -> list[list[float]]:
        values = pool(group)
        mean = math.fsum(values) / len(values)
        std = deviation(values)
        if not (max(values) > min(values) and std >= self.std_floor):
            return [[0.0 for _ in output] for output in group]
        divisor = {
            "group": std + self.eps,
            "batch": batch_std + self.eps,
            "none": 1.0,
        }[self.scale]
        return [[(value - mean) / divisor for value in output] for output in group]


def pool(group: Group) -> list[float]:
    """Return all values of a group: all steps of all its outputs."""
    return [value for output in group for value in output]


def deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation, 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
