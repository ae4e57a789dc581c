"""What a step adds over the next one, so that the sum of all gains is one score and no more.

    d_k = r_k - r_{k+1}  for k < K-1        d_{K-1} = r_{K-1}        d_K = 0

    sum_{j >= k} d_j = r_k  for k < K       (it telescopes)

    A_{i,k} = r~_{i,K} + r~_{i,k}  for k < K        A_{i,K} = r~_{i,K}

Source: arXiv:2410.15115, "Delta". There a success reward from a verifier is added at the end and
the last step's score is dropped for it; here the reward at the last end takes its place.

Normalisation: the last rewards of the group among themselves, the rewards before them among
themselves, and *after* telescoping. A mean subtracted from each d_k would be added up again, once
for each step to come, and bring the step count back in. With one end it is `sum`.

A step of equal value adds nothing to the tokens before it, however often it is repeated.
Vulnerable to filler that scores above the mean: its own tokens are still paid its own score. And a
step is not told of the steps that it leads to, only of the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from iterative_grpo.advantages._last_and_before import last_and_before
from iterative_grpo.protocols import Normalize, Rewards


@dataclass(frozen=True, slots=True)
class Rule:
    """Normalised last reward, plus the step's own where it is not the last."""

    def credit(self, rewards_PGS: Rewards, normalize: Normalize) -> list[list[list[float]]]:
        """Return the step advantages (P, G, S)."""
        parts = last_and_before(rewards_PGS, normalize)
        return [
            [
                [*(outcome + own for own in before), outcome]
                for outcome, before in zip(last_G, before_GS, strict=True)
            ]
            for last_G, before_GS in zip(parts.last, parts.before, strict=True)
        ]
