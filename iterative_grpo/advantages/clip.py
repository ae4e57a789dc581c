"""Steps below the group's mean cost, steps above it earn nothing.

    c_{i,j} = min(r_{i,j} - eta, 0) / std        eta, std: mean and deviation of all r_{i,j}, j < K

    A_{i,k} = r~_{i,K} + sum of c_{i,j} over k <= j < K

Source: arXiv:2410.15115, "Clip". There eta is a fixed threshold that most steps pass, and a success
reward from a verifier is added at the end; here eta is the mean of the group's steps before the
last, and the reward at the last end takes the place of the success reward, unclipped.

Normalisation: the last rewards of the group among themselves; the rewards before them among
themselves, which puts eta at 0, before clipping. With one end it is `sum`.

No step raises an advantage above the outcome's, so padding cannot pay. Vulnerable to one-step
collapse: each step below the mean costs, and an output of one step pays nothing. In a group of good
steps only, some are below the mean too.
"""

from __future__ import annotations

from dataclasses import dataclass

from iterative_grpo.advantages._last_and_before import last_and_before
from iterative_grpo.advantages.sum import suffix_sums
from iterative_grpo.protocols import Normalize, Rewards


@dataclass(frozen=True, slots=True)
class Rule:
    """Normalised last reward, less what the steps from here on fall short of the mean."""

    def credit(self, rewards_PGS: Rewards, normalize: Normalize) -> list[list[list[float]]]:
        """Return the step advantages (P, G, S)."""
        parts = last_and_before(rewards_PGS, normalize)
        return [
            [
                [outcome + cost for cost in (*suffix_sums([min(v, 0.0) for v in before]), 0.0)]
                for outcome, before in zip(last_G, before_GS, strict=True)
            ]
            for last_G, before_GS in zip(parts.last, parts.before, strict=True)
        ]
