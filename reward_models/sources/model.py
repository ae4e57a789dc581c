"""A reward model's scores as rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.protocols import Splitter
from iterative_grpo.types import Completion, Problem, StepRewards
from reward_models.model import RewardModel
from reward_models.protocols import Parts
from reward_models.sources._judged import judged

UNITS = ("probability", "logit")
LOGIT_BOUND = 6.0
"""Logits are held within this bound (probabilities .0025 to .9975): the group's deviation is
shared by all its outputs, and one extreme logit would silence the others."""


@dataclass(frozen=True, slots=True)
class Source:
    """Rewards each step with the model's score at its end.

    `unit` "probability" is the sigmoid, in [0, 1]; "logit" the bounded logit. The fragment that the
    token limit cut off gets the lowest reward of its unit.
    """

    model: RewardModel
    splitter: Splitter
    unit: str = "probability"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"reward unit is {self.unit!r}, must be one of {', '.join(UNITS)}")

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        """Return the step rewards of each completion; component "model" is the same values."""
        rows = (self.splitter, problems, completions)
        if self.unit == "probability":
            return judged(self.model.score, *rows, lowest=0.0)
        return judged(self._logits, *rows, lowest=-LOGIT_BOUND)

    def _logits(
        self, questions: Sequence[str], texts: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> list[tuple[float, ...]]:
        return [
            tuple(min(max(value, -LOGIT_BOUND), LOGIT_BOUND) for value in row)
            for row in self.model.logits(questions, texts, ends)
        ]


def build(parts: Parts) -> Source:
    """Make the source with the run's reward model."""
    return Source(parts.reward_model(), parts.splitter)
