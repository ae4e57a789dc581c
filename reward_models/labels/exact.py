"""Exact step checks: a prefix is right until the first step that is wrong.

From the first wrong step on, every end gets 0: a solution with a mistake in it is no way to the
answer, except by luck (first-error labels, as in PRM800K, arXiv:2305.20050, and ProcessBench,
arXiv:2412.06559). A step that cannot be checked counts as right: nothing speaks against it. The
last end gets the verifier's verdict in any case, so that a right answer after a wrong derivation
shows as 0, ..., 0, 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.types import Completion, Problem
from reward_models.labels._verdicts import judge_all, last_count, solution
from reward_models.protocols import CheckSteps, Judge, Tools
from reward_models.types import LabelCost, LabeledSolution


@dataclass(frozen=True, slots=True)
class Labeler:
    """Labels the ends before the last by `check_steps`, the last by the verdict."""

    judge: Judge
    check_steps: CheckSteps
    iteration: int

    def label(
        self,
        problems: Sequence[Problem],
        completions: Sequence[Completion],
        ends: Sequence[Sequence[int]],
    ) -> tuple[list[LabeledSolution], LabelCost]:
        """Return one labeled solution a completion, and how many labels; they cost no rollouts."""
        verdicts = judge_all(self.judge, problems, completions, ends)
        rows = []
        for problem, completion, cut, correct in zip(
            problems, completions, ends, verdicts, strict=True
        ):
            right = [bool(r) for r in self.check_steps(problem, completion.text, cut)]
            if len(right) != len(cut):
                raise ValueError(
                    f"{problem.id}: the step check returned {len(right)} results for {len(cut)} "
                    "steps; it returns one a step"
                )
            mistake = right.index(False) if False in right else len(right)
            counts = [(int(step < mistake), 1) for step in range(len(cut) - 1)]
            counts.append(last_count(completion, correct))
            rows.append(
                solution(
                    problem,
                    completion,
                    cut,
                    counts,
                    correct=correct,
                    iteration=self.iteration,
                    labeler="exact",
                    completer="",
                )
            )
        return rows, LabelCost(labels=sum(len(cut) - 1 for cut in ends))


def check_arithmetic(problem: Problem, text: str, ends: Sequence[int]) -> list[bool]:
    """Check each step's own equations; a step is wrong only if one of them is false."""
    from verifiers.steps import check_spans

    if not text:
        return [True]  # the one empty step of an empty output; its label is the verdict's
    return [verdict.outcome.name != "WRONG" for verdict in check_spans(text, ends)]


def build(tools: Tools) -> Labeler:
    """Make the labeler with the data set's step check, or the check of written equations."""
    return Labeler(tools.judge, tools.check_steps or check_arithmetic, tools.iteration)
