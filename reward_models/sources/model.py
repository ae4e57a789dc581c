"""A reward model's scores as rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.protocols import Splitter
from iterative_grpo.types import Completion, Problem, StepRewards
from reward_models.model import RewardModel
from reward_models.protocols import Parts
from reward_models.sources._judged import judged


@dataclass(frozen=True, slots=True)
class Source:
    """Rewards each step with the model's score at its end, in [0, 1]."""

    model: RewardModel
    splitter: Splitter

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        """Return the step rewards of each completion; component "model" is the same values."""
        return judged(self.model.score, self.splitter, problems, completions)


def build(parts: Parts) -> Source:
    """Make the source with the run's reward model."""
    return Source(parts.reward_model(), parts.splitter)
