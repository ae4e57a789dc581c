"""What the processes exchange in a generation, in one collective: all that credit and log need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.divergence import Moved
from iterative_grpo.rollouts import Rollout
from iterative_grpo.trl_seam.generation_metrics import Lengths
from iterative_grpo.types import Completion


@dataclass(frozen=True, slots=True)
class Share:
    """What one process brings: its rollouts, its part of the distance, what TRL would ask for."""

    rollouts: Sequence[Rollout]
    moved: Moved | None
    lengths: Lengths | None


@dataclass(frozen=True, slots=True)
class Scored:
    """This process's completions and every process's share, between scoring and credit."""

    completions: Sequence[Completion]
    shares: Sequence[Share]

    @property
    def rollouts(self) -> list[Rollout]:
        """All rollouts of the generation, in the order of processes."""
        return [rollout for share in self.shares for rollout in share.rollouts]
