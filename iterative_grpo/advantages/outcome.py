"""The last step's reward for every token, whatever the steps before it got.

    A_{i,t} = (r_{i,K_i} - mean_i(r_{i,K_i})) / std_i(r_{i,K_i})

the outcome advantage (arXiv:2402.03300 §4.1.2) read from step rewards: with it, a process reward
model serves as an outcome model. Blind to everything but the end of the solution.
"""

from __future__ import annotations

from dataclasses import dataclass

from iterative_grpo.protocols import Normalize, Rewards


@dataclass(frozen=True, slots=True)
class Rule:
    """Group-normalised last reward, the same for all steps of an output."""

    def credit(self, rewards_PGS: Rewards, normalize: Normalize) -> list[list[list[float]]]:
        """Return the step advantages (P, G, S)."""
        last = [[[output[-1]] for output in group] for group in rewards_PGS]
        return [
            [[value] * len(steps) for (value,), steps in zip(normalized, group, strict=True)]
            for normalized, group in zip(normalize(last), rewards_PGS, strict=True)
        ]
