"""Model rewards, with the verifier's on a share of the questions.

PURE (arXiv:2504.15275) found verified rewards on about 10 % of the questions enough to stop a
policy from gaming its reward model. On a verified question the reward is
w_v verifier + w_m model, on the others w_m model. A group is one question, so that its outputs are
compared by one formula; between questions the normalisation of the group removes the scale. Where
it is the batch's or none, verified questions weigh more, and a credit rule with a threshold would
meet two scales (refused with the settings).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iterative_grpo.protocols import RewardSource
from iterative_grpo.types import Completion, Problem, StepRewards
from reward_models.division import unit_hash
from reward_models.protocols import Parts
from reward_models.sources import model as judged
from reward_models.sources import verifier as verified


@dataclass(frozen=True, slots=True)
class Source:
    """Adds weighted rewards of two sources that cut alike.

    `verified_share` of the questions, chosen by a hash of the problem id and `seed`, are verified;
    the verifier is asked about these alone. Components: "verifier" (verified questions only) and
    "model", unweighted; the value is their weighted sum.
    """

    verifier: RewardSource
    model: RewardSource
    verifier_weight: float = 1.0
    model_weight: float = 1.0
    verified_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.verified_share <= 1:
            raise ValueError(f"verified_share is {self.verified_share}, must be in [0, 1]")
        for name in ("verifier_weight", "model_weight"):
            weight = getattr(self, name)
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"{name} is {weight}, must be a number, 0 or more")

    def verifies(self, problem: Problem) -> bool:
        """Return whether the question is one of the verified ones."""
        return unit_hash(problem.id, f"verified {self.seed}") < self.verified_share

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        """Return the step rewards of each completion."""
        judged = self.model.score(problems, completions)
        chosen = [row for row, problem in enumerate(problems) if self.verifies(problem)]
        truths: Mapping[int, StepRewards] = {}
        if chosen:
            asked = self.verifier.score(
                [problems[row] for row in chosen], [completions[row] for row in chosen]
            )
            truths = dict(zip(chosen, asked, strict=True))
        return [self._add(truths.get(row), reward) for row, reward in enumerate(judged)]

    def _add(self, truth: StepRewards | None, judged: StepRewards) -> StepRewards:
        if truth is None:
            values = tuple(self.model_weight * value for value in judged.values)
            return StepRewards(judged.ends, values, {"model": judged.values})
        if truth.ends != judged.ends:
            raise ValueError(
                f"verifier and model cut one text differently ({list(truth.ends)} and "
                f"{list(judged.ends)}); give both the same splitter"
            )
        values = tuple(
            self.verifier_weight * v + self.model_weight * m
            for v, m in zip(truth.values, judged.values, strict=True)
        )
        parts = {"verifier": truth.values, "model": judged.values}
        return StepRewards(judged.ends, values, parts)


def build(parts: Parts) -> Source:
    """Make the mixture of the verifier's and the reward model's rewards."""
    return Source(
        verifier=verified.build(parts),
        model=judged.build(parts),
        verifier_weight=parts.verifier_weight,
        model_weight=parts.model_weight,
        verified_share=parts.verified_share,
        seed=parts.seed,
    )
