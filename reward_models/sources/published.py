"""A published process reward model's probabilities as rewards (`reward_models/published/`).

Each step gets the probability at its end. Under outcome supervision the text is one step with one
end, and the model reads it as one: that is the last step's score, of a text in which no earlier
step is marked. Other words for the whole, such as the lowest of the steps' scores (Math-Shepherd,
arXiv:2312.08935), need its steps: process supervision, with credit `min`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.protocols import Splitter
from iterative_grpo.types import Completion, Problem, StepRewards
from reward_models.protocols import Parts, Scorer
from reward_models.sources._judged import judged

JUDGED_BY = "a published reward model"


@dataclass(frozen=True, slots=True)
class Source:
    """Rewards each step with the model's probability at its end, in [0, 1]."""

    model: Scorer
    splitter: Splitter

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        """Return the step rewards; component "model" is the same values.

        The fragment that the token limit cut off gets 0, as in source "model".
        """
        return judged(self.model.score, self.splitter, problems, completions)


def build(parts: Parts) -> Source:
    """Make the source with the published model of the run's settings."""
    return Source(parts.published_model(), parts.splitter)
