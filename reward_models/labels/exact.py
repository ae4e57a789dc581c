"""Exact step checks: a prefix is right until the first step that is wrong.

From the first wrong step on, every end gets 0: a solution with a mistake in it is no way to the
answer, except by luck (first-error labels, as in PRM800K, arXiv:2305.20050, and ProcessBench,
arXiv:2412.06559). A step that cannot be checked counts as right: nothing speaks against it. The
last end gets the verifier's verdict in any case, so that a right answer after a wrong derivation
shows as 0, ..., 0, 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from iterative_grpo.types import Completion, Problem
from reward_models.labels._verdicts import last_count, solution, verify_all
from reward_models.protocols import CheckSteps, Tools, Verify
from reward_models.types import LabelCost, LabeledSolution

CheckAll = Callable[
    [Sequence[Problem], Sequence[str], Sequence[Sequence[int]]], Iterable[Sequence[bool]]
]
"""For each text cut at ends, whether its steps are right."""


@dataclass(frozen=True, slots=True)
class Labeler:
    """Labels the ends before the last by `check_all`, the last by the verdict."""

    verify: Verify
    check_all: CheckAll
    iteration: int

    def label(
        self,
        problems: Sequence[Problem],
        completions: Sequence[Completion],
        ends: Sequence[Sequence[int]],
    ) -> tuple[list[LabeledSolution], LabelCost]:
        """Return one labeled solution a completion, and how many labels; they cost no rollouts."""
        verdicts = verify_all(self.verify, problems, completions, ends)
        # An only step is the last one: outcome supervision checks none.
        several = [row for row, cut in enumerate(ends) if len(cut) > 1]
        checked = self.check_all(
            [problems[row] for row in several],
            [completions[row].text for row in several],
            [ends[row] for row in several],
        )
        steps = dict(zip(several, checked, strict=True))
        rows = []
        for row, (problem, completion, cut, correct) in enumerate(
            zip(problems, completions, ends, verdicts, strict=True)
        ):
            right = [bool(each) for each in steps.get(row, [True])]
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


def check_arithmetic(
    problems: Sequence[Problem], texts: Sequence[str], ends: Sequence[Sequence[int]]
) -> list[list[bool]]:
    """Check each step's own equations; a step is wrong only if one of them is false."""
    from verifiers.steps import check_many

    return [[outcome.name != "WRONG" for outcome in each] for each in check_many(texts, ends)]


def one_by_one(check: CheckSteps) -> CheckAll:
    """Return a data set's own step check for many solutions."""

    def check_all(
        problems: Sequence[Problem], texts: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> list[Sequence[bool]]:
        return [check(*each) for each in zip(problems, texts, ends, strict=True)]

    return check_all


def build(tools: Tools) -> Labeler:
    """Make the labeler with the data set's step check, or the check of written equations."""
    own = tools.check_steps
    check = check_arithmetic if own is None else one_by_one(own)
    return Labeler(tools.verify, check, tools.iteration)
