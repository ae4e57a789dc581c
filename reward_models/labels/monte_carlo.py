"""Monte-Carlo step labels (Math-Shepherd, arXiv:2312.08935, section 3.2).

The label of a prefix is the share of its continuations by the current policy that end in the right
answer: c = successes / trials ("soft estimation"); "hard estimation" is 1 if any did. Counts are
kept, so that either can be derived later. The whole text gets the verifier's verdict.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace

from iterative_grpo.steps import TokenSteps
from iterative_grpo.types import Completion, Problem, Prompt
from reward_models.labels._verdicts import judge_all, last_count, solution
from reward_models.protocols import Continuing, Judge, Tools
from reward_models.types import LabeledSolution

Prefix = tuple[str, tuple[int, ...]]
"""A problem id and the sampled token ids of the steps so far."""


@dataclass(frozen=True, slots=True)
class Labeler:
    """Labels prefixes by continuing their sampled token ids; equal prefixes are continued once.

    Without steps there is no prefix, and nothing to continue with is needed.
    """

    judge: Judge
    continuing: Continuing | None
    iteration: int
    completer: str

    def label(
        self,
        problems: Sequence[Problem],
        completions: Sequence[Completion],
        ends: Sequence[Sequence[int]],
    ) -> list[LabeledSolution]:
        """Return one labeled solution a completion."""
        verdicts = judge_all(self.judge, problems, completions, ends)
        if all(len(cut) == 1 for cut in ends):
            prefixes: list[list[Prefix]] = [[] for _ in ends]
        else:
            prefixes = find_prefixes(require(self.continuing, "monte_carlo"), completions, ends)
        answers = {problem.id: problem.answer for problem in problems}
        distinct = list(dict.fromkeys(prefix for row in prefixes for prefix in row))
        counts = dict(zip(distinct, self._count(distinct, answers), strict=True))
        return [
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

    def _count(self, prefixes: Sequence[Prefix], answers: dict[str, str]) -> list[tuple[int, int]]:
        """Return (successes, trials) of each prefix."""
        if not prefixes:
            return []
        continuing = require(self.continuing, "monte_carlo")
        groups = continue_prefixes(continuing, prefixes, continuing.sampling.seed)
        texts = [
            (text, answers[problem_id])
            for (problem_id, _), group in zip(prefixes, groups, strict=True)
            for text in group
            if text is not None
        ]
        verdicts = iter(self.judge(texts))
        return [
            (sum(text is not None and next(verdicts).correct for text in group), len(group))
            for group in groups
        ]


def find_prefixes(
    continuing: Continuing, completions: Sequence[Completion], ends: Sequence[Sequence[int]]
) -> list[list[Prefix]]:
    """Return for each completion the token ids up to each of its ends but the last."""
    mapping = TokenSteps(continuing.tokenizer)
    rows = []
    for completion, cut in zip(completions, ends, strict=True):
        steps = mapping.steps_of_tokens(completion.token_ids, completion.text, cut)
        sizes = [bisect.bisect_right(steps, step) for step in range(len(cut) - 1)]
        rows.append([(completion.problem_id, completion.token_ids[:size]) for size in sizes])
    return rows


def continue_prefixes(
    continuing: Continuing, prefixes: Sequence[Prefix], seed: int
) -> list[list[str | None]]:
    """Return each prefix's whole texts, None where the policy did not stop within its limit.

    The limit is the whole completion's: a continuation that needs more tokens than the policy would
    have had left has failed.
    """
    whole = continuing.sampling.max_tokens
    left = [whole - len(ids) for _, ids in prefixes]
    prompts = [
        Prompt(problem_id, continuing.prompts[problem_id].token_ids + ids)
        for problem_id, ids in prefixes
    ]
    sampling = replace(continuing.sampling, max_tokens=max(1, *left), seed=seed)
    groups = continuing.engine.generate(prompts, sampling)
    return [
        [
            None
            if completion.truncated or len(completion.token_ids) > rest
            else _text(continuing, ids + completion.token_ids)
            for completion in group
        ]
        for (_, ids), rest, group in zip(prefixes, left, groups, strict=True)
    ]


def _text(continuing: Continuing, token_ids: Sequence[int]) -> str:
    """Decode prefix and continuation together: apart, a tokenizer may drop the space between."""
    return str(continuing.tokenizer.decode(list(token_ids), skip_special_tokens=True))


def require(continuing: Continuing | None, labeler: str) -> Continuing:
    """Return the engine and prompts, or say that they are missing."""
    if continuing is None:
        raise ValueError(
            f"labeler {labeler!r} continues prefixes with the policy: it needs an engine, prompts, "
            "sampling and a tokenizer (Tools.continuing)"
        )
    return continuing


def build(tools: Tools) -> Labeler:
    """Make the labeler."""
    return Labeler(tools.judge, tools.continuing, tools.iteration, tools.completer)
