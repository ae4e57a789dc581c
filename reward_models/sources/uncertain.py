"""An ensemble's scores as rewards, drawn to one half where its heads disagree.

A policy finds the outputs that a reward model overrates; heads trained on resampled problems
disagree there more than elsewhere (Coste et al., arXiv:2310.02743). With spread d, the standard
deviation of the heads' probabilities at an end, and a limit d0:

- "shrink": 1/2 + (p - 1/2) max(0, 1 - d / d0),
- "mask": p if d <= d0, else 1/2: no opinion.

One half is neutral for a reward that is normalised within its group only if the group's other
rewards lie around it; a group that the model rates alike loses less of its signal by "shrink".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, pstdev
from typing import Literal

from iterative_grpo.protocols import Splitter
from iterative_grpo.types import Completion, Problem, StepRewards
from reward_models.model import RewardModel, sigmoid
from reward_models.protocols import Parts
from reward_models.sources._cuts import cut
from reward_models.types import as_rewarded

Action = Literal["shrink", "mask"]


@dataclass(frozen=True, slots=True)
class Source:
    """Rewards each step with the mean head's score, less so where the heads disagree."""

    model: RewardModel
    splitter: Splitter
    action: Action = "shrink"
    limit: float = 0.25

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise ValueError(f"limit is {self.limit}, must be above 0")
        if self.model.heads < 2:
            raise ValueError(
                "reward source 'uncertain' needs an ensemble, the reward model has one head; make "
                "it with heads=4 or more"
            )

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        """Return the step rewards; components "model" (as scored) and "spread" (of the heads).

        The fragment that the token limit cut off gets 0, as in source "model".
        """
        ends = cut(self.splitter, problems, completions)
        rows = self.model.head_logits(
            [problem.question for problem in problems],
            [completion.text for completion in completions],
            ends,
        )
        rewards = []
        for completion, row_ends, row in zip(completions, ends, rows, strict=True):
            scores = self.model.calibrated([tuple(sigmoid(fmean(end)) for end in row)])[0]
            spreads = tuple(pstdev(map(sigmoid, end)) for end in row)
            values = [self._value(p, d) for p, d in zip(scores, spreads, strict=True)]
            rewarded = partial(as_rewarded, finished=not completion.truncated)
            parts = {"model": rewarded(scores), "spread": spreads}
            rewards.append(StepRewards(row_ends, rewarded(values), parts))
        return rewards

    def _value(self, score: float, spread: float) -> float:
        if self.action == "mask":
            return score if spread <= self.limit else 0.5
        return 0.5 + (score - 0.5) * max(0.0, 1 - spread / self.limit)


def build(parts: Parts, *, action: Action = "shrink", limit: float = 0.25) -> Source:
    """Make the source with the run's reward model."""
    return Source(parts.reward_model(), parts.splitter, action, limit)
