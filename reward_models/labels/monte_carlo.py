"""Monte-Carlo step labels (Math-Shepherd, arXiv:2312.08935, section 3.2).

The label of a prefix is the share of its continuations by the current policy that end in the right
answer: successes / trials ("soft estimation"; "hard estimation" is 1 if any did). Counts are kept,
so that either can be derived later. The whole text gets the verifier's verdict.

Departures, each of which can be switched off: rollouts are shared by all prefixes that they pass
through, and a prefix gets no more trials than decide it. Stopping at a decision moves a fraction
slightly towards 0 or 1, as any sequential test does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.types import Completion, Problem
from reward_models.labels._rollouts import Prefix, Rollouts, find_prefixes, remembering, require
from reward_models.labels._verdicts import last_count, solution, verify_all
from reward_models.protocols import Continuing, Tools, Verify
from reward_models.types import LabelCost, LabeledSolution

CONTINUES = True


@dataclass(frozen=True, slots=True)
class Labeler:
    """Labels prefixes by continuing their sampled token ids, `sampling.group_size` times at most.

    `share` counts a rollout for every prefix that it passes through, the completions labelled
    included. A prefix is decided, and left alone, when the central interval of `confidence` of
    Beta(1 + successes, 1 + failures) lies on one side of one half; 1 never decides. `at_once` is
    the number of continuations between two looks. `continuing` may be None if no text has steps.
    """

    verify: Verify
    continuing: Continuing | None
    iteration: int
    completer: str
    share: bool = True
    confidence: float = 0.9
    at_once: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.confidence <= 1:
            raise ValueError(f"confidence is {self.confidence}, must be in (0, 1]")
        if self.at_once < 1:
            raise ValueError(f"at_once is {self.at_once}, must be at least 1")

    def label(
        self,
        problems: Sequence[Problem],
        completions: Sequence[Completion],
        ends: Sequence[Sequence[int]],
    ) -> tuple[list[LabeledSolution], LabelCost]:
        """Return one labeled solution a completion, and what they cost."""
        verdicts = verify_all(self.verify, problems, completions, ends)
        prefixes: list[list[Prefix]] = [[] for _ in ends]
        counts: dict[Prefix, tuple[int, int]] = {}
        cost = LabelCost()
        if any(len(cut) > 1 for cut in ends):
            continuing = require(self.continuing, "monte_carlo")
            prefixes = find_prefixes(continuing, completions, ends)
            rollouts = Rollouts(
                (prefix for row in prefixes for prefix in row),
                {problem.id: problem.answer for problem in problems},
                self.verify,
                continuing,
                share=self.share,
            )
            if self.share:
                rollouts.own(completions, verdicts)
            distinct = list(dict.fromkeys(prefix for row in prefixes for prefix in row))
            with remembering(continuing):
                self._sample(rollouts, distinct, continuing.sampling.group_size)
            counts = {prefix: rollouts.count(prefix) for prefix in distinct}
            cost = rollouts.cost + LabelCost(labels=sum(len(row) for row in prefixes))
        rows = [
            solution(
                problem,
                completion,
                cut,
                [counts[prefix] for prefix in row] + [last_count(completion, correct)],
                correct=correct,
                iteration=self.iteration,
                labeler="monte_carlo",
                completer=self.completer,
            )
            for problem, completion, cut, correct, row in zip(
                problems, completions, ends, verdicts, prefixes, strict=True
            )
        ]
        return rows, cost

    def _sample(self, rollouts: Rollouts, prefixes: Sequence[Prefix], limit: int) -> None:
        """Continue undecided prefixes, short ones first: their rollouts may decide longer ones."""
        before = {prefix: rollouts.shorter(prefix) for prefix in prefixes} if self.share else {}
        waiting = list(prefixes)
        while True:
            waiting = [p for p in waiting if not self._done(rollouts.count(p), limit)]
            if not waiting:
                return
            undecided = set(waiting)
            needs: dict[Prefix, int] = {}
            for prefix in waiting:
                if undecided.isdisjoint(before.get(prefix, ())):
                    left = limit - rollouts.count(prefix)[1]
                    needs[prefix] = left if self.confidence == 1 else min(self.at_once, left)
            rollouts.sample(needs)

    def _done(self, count: tuple[int, int], limit: int) -> bool:
        return count[1] >= limit or decided(*count, self.confidence)


def decided(successes: int, trials: int, confidence: float) -> bool:
    """Return whether the Beta posterior's central interval lies on one side of one half.

    For integers a and b, P(Beta(a, b) < 1/2) = P(Binomial(a + b - 1, 1/2) >= a): no special
    functions are needed. The prior is uniform, a = 1 + successes, b = 1 + failures.
    """
    tosses = trials + 1
    ways = sum(math.comb(tosses, k) for k in range(successes + 1, tosses + 1))
    below: float = ways / 2**tosses
    return min(below, 1 - below) < (1 - confidence) / 2


def build(tools: Tools) -> Labeler:
    """Make the labeler."""
    return Labeler(tools.verify, tools.continuing, tools.iteration, tools.completer)
