"""The labels of a labeler as rewards: the truth itself, by verdict or by exact step checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.protocols import Splitter
from iterative_grpo.types import Completion, Problem, StepRewards
from reward_models.labels import exact
from reward_models.protocols import Labeler, Parts, Tools
from reward_models.sources._cuts import cut

JUDGED_BY = "the verifier"


@dataclass(frozen=True, slots=True)
class Source:
    """Rewards each step with its label."""

    labeler: Labeler
    splitter: Splitter

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        """Return the step rewards of each completion; component "verifier" is the same values."""
        ends = cut(self.splitter, problems, completions)
        rows, _ = self.labeler.label(problems, completions, ends)
        return [StepRewards(row.ends, row.labels, {"verifier": row.labels}) for row in rows]


def build(parts: Parts) -> Source:
    """Make the source with exact labels: the verdict, and step checks for the ends before it."""
    tools = Tools(verify=parts.verify, iteration=0, check_steps=parts.check_steps)
    return Source(exact.build(tools), parts.splitter)
