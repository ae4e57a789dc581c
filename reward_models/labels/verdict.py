"""The verifier's verdict on the whole, at every end.

With one end this is the outcome label. With several, each prefix carries the fate of its solution,
as in training an outcome model on all positions (Cobbe et al., arXiv:2110.14168, section 4.2):
right prefixes of wrong solutions are labelled wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.types import Completion, Problem
from reward_models.labels._verdicts import last_count, solution, verify_all
from reward_models.protocols import Tools, Verify
from reward_models.types import LabelCost, LabeledSolution


@dataclass(frozen=True, slots=True)
class Labeler:
    """Labels every end by the verdict; a truncated fragment gets 0."""

    verify: Verify
    iteration: int

    def label(
        self,
        problems: Sequence[Problem],
        completions: Sequence[Completion],
        ends: Sequence[Sequence[int]],
    ) -> tuple[list[LabeledSolution], LabelCost]:
        """Return one labeled solution a completion, and how many labels; they cost no rollouts."""
        verdicts = verify_all(self.verify, problems, completions, ends)
        rows = [
            solution(
                problem,
                completion,
                cut,
                [(int(correct), 1)] * (len(cut) - 1) + [last_count(completion, correct)],
                correct=correct,
                iteration=self.iteration,
                labeler="verdict",
                completer="",
            )
            for problem, completion, cut, correct in zip(
                problems, completions, ends, verdicts, strict=True
            )
        ]
        return rows, LabelCost(labels=sum(len(cut) - 1 for cut in ends))


def build(tools: Tools) -> Labeler:
    """Make the labeler."""
    return Labeler(tools.verify, tools.iteration)
