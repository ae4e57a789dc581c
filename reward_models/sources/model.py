"""A reward model's scores as rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.protocols import Splitter
from iterative_grpo.types import Completion, Problem, StepRewards
from reward_models.model import RewardModel
from reward_models.protocols import Parts
from reward_models.sources._cuts import cut

UNITS = ("probability", "logit")
LOGIT_BOUND = 6.0
"""Logits are held within this bound (probabilities .0025 to .9975): the group's deviation is
shared by all its outputs, and one extreme logit would silence the others."""


@dataclass(frozen=True, slots=True)
class Source:
    """Rewards each step with the model's score at its end.

    `unit` "probability" is the sigmoid, in [0, 1]; "logit" the bounded logit. The fragment that the
    token limit cut off gets the lowest reward of its unit: the policy did not finish it, and a
    model that never saw fragments might like them.
    """

    model: RewardModel
    splitter: Splitter
    unit: str = "probability"
    tokens_per_batch: int = 16_384

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"reward unit is {self.unit!r}, must be one of {', '.join(UNITS)}")

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        """Return the step rewards of each completion; component "model" is the same values."""
        ends = cut(self.splitter, problems, completions)
        questions = [problem.question for problem in problems]
        texts = [completion.text for completion in completions]
        if self.unit == "probability":
            lowest = 0.0
            scores = self.model.score(
                questions, texts, ends, tokens_per_batch=self.tokens_per_batch
            )
        else:
            lowest = -LOGIT_BOUND
            logits = self.model.logits(
                questions, texts, ends, tokens_per_batch=self.tokens_per_batch
            )
            scores = [
                tuple(min(max(value, -LOGIT_BOUND), LOGIT_BOUND) for value in row) for row in logits
            ]
        rewards = []
        for completion, row_ends, row in zip(completions, ends, scores, strict=True):
            values = (*row[:-1], lowest) if completion.truncated else row
            rewards.append(StepRewards(row_ends, values, {"model": values}))
        return rewards


def build(parts: Parts) -> Source:
    """Make the source with the run's reward model."""
    return Source(parts.reward_model(), parts.splitter)
