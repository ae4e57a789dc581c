"""The paper's credit: the sum of the normalised rewards from here on.

    A_{i,t} = sum over steps j with end(j) >= t of  (r_{i,j} - mean(R)) / std(R)

with R all step rewards of all outputs of the group (arXiv:2402.03300 §4.1.3). With one end it is
the outcome advantage of §4.1.2.

Vulnerable to step counts: an output above the pooled mean gains by having more steps, one below it
by having fewer (its first token's advantage is K (mean_i - mean) / std for K steps).
"""

from __future__ import annotations

from dataclasses import dataclass

from iterative_grpo.protocols import Normalize, Rewards


@dataclass(frozen=True, slots=True)
class Rule:
    """Reverse cumulative sum of the normalised step rewards."""

    def credit(self, rewards_PGS: Rewards, normalize: Normalize) -> list[list[list[float]]]:
        """Return the step advantages (P, G, S)."""
        return [[suffix_sums(output) for output in group] for group in normalize(rewards_PGS)]


def suffix_sums(values: list[float]) -> list[float]:
    """Return, for each position, the sum of the values at or after it."""
    total = 0.0
    sums = []
    for value in reversed(values):
        total += value
        sums.append(total)
    return sums[::-1]
