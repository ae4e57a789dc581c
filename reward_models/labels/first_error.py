"""Binary search for the first error (OmegaPRM, arXiv:2406.06592, section 3.2).

A prefix is taken for right if one of its continuations reaches the answer. In a solution that is
wrong, the first prefix without success ends the first wrong step; prefixes before it are labelled
1, it and all after it 0. That needs log2(steps) prefixes instead of all, and assumes what
Math-Shepherd's labels do not: that no prefix is right after a wrong one. In a solution that is
right all steps are labelled 1 without a continuation. Prefixes that were not tried have count
(0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.types import Completion, Problem
from reward_models.labels._rollouts import Prefix, Rollouts, find_prefixes, remembering, require
from reward_models.labels._verdicts import last_count, solution, verify_all
from reward_models.protocols import Continuing, Tools, Verify
from reward_models.types import LabelCost, LabeledSolution

CONTINUES = True


@dataclass(slots=True)
class _Search:
    """The first error lies after `low` steps that are right, at or before step `high`."""

    prefixes: list[Prefix]
    low: int
    high: int

    @property
    def middle(self) -> int:
        return (self.low + self.high) // 2


@dataclass(frozen=True, slots=True)
class Labeler:
    """Labels ends before the first error 1, the others 0, the last by the verdict.

    `at_once` continuations are sampled between two looks: one success settles a prefix.
    """

    verify: Verify
    continuing: Continuing | None
    iteration: int
    completer: str
    at_once: int = 4

    def label(
        self,
        problems: Sequence[Problem],
        completions: Sequence[Completion],
        ends: Sequence[Sequence[int]],
    ) -> tuple[list[LabeledSolution], LabelCost]:
        """Return one labeled solution a completion, and what they cost."""
        verdicts = verify_all(self.verify, problems, completions, ends)
        prefixes: list[list[Prefix]] = [[] for _ in ends]
        searches: dict[int, _Search] = {}
        counts: dict[Prefix, tuple[int, int]] = {}
        cost = LabelCost()
        if any(len(cut) > 1 for cut in ends):
            continuing = require(self.continuing, "first_error")
            prefixes = find_prefixes(continuing, completions, ends)
            distinct = list(dict.fromkeys(prefix for row in prefixes for prefix in row))
            answers = {problem.id: problem.answer for problem in problems}
            rollouts = Rollouts(distinct, answers, self.verify, continuing)
            rollouts.own(completions, verdicts)
            searches = {
                row: _Search(found, 0, len(found))
                for row, found in enumerate(prefixes)
                if not verdicts[row]
            }
            with remembering(continuing):
                self._search(rollouts, list(searches.values()), continuing.sampling.group_size)
            counts = {prefix: rollouts.count(prefix) for prefix in distinct}
            cost = rollouts.cost + LabelCost(labels=sum(len(row) for row in prefixes))
        rows = []
        for row, (problem, completion, cut, correct) in enumerate(
            zip(problems, completions, ends, verdicts, strict=True)
        ):
            right = searches[row].low if row in searches else len(cut) - 1
            last = last_count(completion, correct)
            labels = [1.0 if step < right else 0.0 for step in range(len(cut) - 1)]
            rows.append(
                solution(
                    problem,
                    completion,
                    cut,
                    [counts[prefix] for prefix in prefixes[row]] + [last],
                    correct=correct,
                    iteration=self.iteration,
                    labeler="first_error",
                    completer=self.completer,
                    labels=[*labels, float(last[0])],
                )
            )
        return rows, cost

    def _search(self, rollouts: Rollouts, searches: Sequence[_Search], limit: int) -> None:
        """Halve all searches together until each knows how many of its steps are right."""
        while True:
            unsettled: dict[Prefix, None] = {}
            for search in searches:
                while search.low < search.high:
                    prefix = search.prefixes[search.middle]
                    successes, trials = rollouts.count(prefix)
                    if successes:
                        search.low = search.middle + 1
                    elif trials >= limit:
                        search.high = search.middle
                    else:
                        unsettled[prefix] = None
                        break
            if not unsettled:
                return
            rollouts.sample(
                {
                    prefix: min(self.at_once, limit - rollouts.count(prefix)[1])
                    for prefix in unsettled
                }
            )


def build(tools: Tools) -> Labeler:
    """Make the labeler."""
    return Labeler(tools.verify, tools.continuing, tools.iteration, tools.completer)
