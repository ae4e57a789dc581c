"""Continuations of prefixes, kept by token ids so that each serves all prefixes it passes through.

Given that a rollout starts with a prefix, the rest of it is a sample of how the policy continues
that prefix. So the group's own completions, and continuations made for a shorter prefix, are trials
for every prefix on their way, as good as continuations made for it: all are sampled alike.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from iterative_grpo import stops
from iterative_grpo.steps import TokenSteps
from iterative_grpo.types import Completion, Prompt, Sampling
from reward_models.protocols import Continuing, Judge
from reward_models.types import LabelCost

Prefix = tuple[str, tuple[int, ...]]
"""A problem id and the sampled token ids of the steps so far."""


class Rollouts:
    """Successes and trials of a fixed set of prefixes; samples more on demand and counts the cost.

    With `share` off, a continuation counts for the prefix that it was made for alone.
    """

    def __init__(
        self,
        prefixes: Iterable[Prefix],
        answers: dict[str, str],
        judge: Judge,
        continuing: Continuing,
        *,
        share: bool = True,
    ) -> None:
        self._counts: dict[Prefix, list[int]] = {prefix: [0, 0] for prefix in prefixes}
        sizes: dict[str, set[int]] = defaultdict(set)
        for problem_id, token_ids in self._counts:
            sizes[problem_id].add(len(token_ids))
        self._sizes = {problem_id: sorted(found) for problem_id, found in sizes.items()}
        self._answers, self._judge, self._continuing = answers, judge, continuing
        self._share = share
        self._rounds = 0
        self.cost = LabelCost(prefixes=len(self._counts))

    def count(self, prefix: Prefix) -> tuple[int, int]:
        """Return (successes, trials) of a prefix."""
        successes, trials = self._counts[prefix]
        return successes, trials

    def shorter(self, prefix: Prefix) -> list[Prefix]:
        """Return the prefixes of the set that this one begins with, itself left out."""
        problem_id, token_ids = prefix
        found = []
        for size in self._sizes[problem_id]:
            if size >= len(token_ids):
                break
            if (problem_id, token_ids[:size]) in self._counts:
                found.append((problem_id, token_ids[:size]))
        return found

    def own(self, completions: Sequence[Completion], verdicts: Sequence[bool]) -> None:
        """Count the group's own completions for the prefixes that they pass through.

        A truncated one is a failure, as a continuation that reaches the limit is.
        """
        for completion, correct in zip(completions, verdicts, strict=True):
            success = correct and not completion.truncated
            self._add(completion.problem_id, completion.token_ids, success)

    def sample(self, prefixes: Sequence[Prefix], number: int) -> None:
        """Continue each prefix `number` times with the policy, judge and count."""
        if not prefixes:
            return
        continuing = self._continuing
        whole = continuing.sampling.max_tokens
        left = [whole - len(token_ids) for _, token_ids in prefixes]
        prompts = [
            Prompt(problem_id, continuing.prompts[problem_id].token_ids + token_ids)
            for problem_id, token_ids in prefixes
        ]
        # An engine's streams depend on seed and prompt: each round needs a seed of its own.
        self._rounds += 1
        sampling = replace(
            continuing.sampling,
            group_size=number,
            seed=continuing.sampling.seed + 7919 * self._rounds,
        )
        groups = self._generate(prompts, sampling, left)
        made = [
            (prefix, completion, rest)
            for prefix, rest, group in zip(prefixes, left, groups, strict=True)
            for completion in group
        ]
        # Who needs more tokens than the policy would have had left has failed.
        ended = [not c.truncated and len(c.token_ids) <= rest for _, c, rest in made]
        asked = [
            (self._text(token_ids + completion.token_ids), self._answers[problem_id])
            for ((problem_id, token_ids), completion, _), good in zip(made, ended, strict=True)
            if good
        ]
        verdicts = iter(self._judge(asked))
        for (prefix, completion, _), good in zip(made, ended, strict=True):
            success = good and next(verdicts).correct
            if self._share:
                self._add(prefix[0], prefix[1] + completion.token_ids, success, made_for=prefix)
            else:
                self._counts[prefix][0] += success
                self._counts[prefix][1] += 1
        tokens = sum(len(completion.token_ids) for _, completion, _ in made)
        self.cost += LabelCost(rollouts=len(made), tokens=tokens)

    def _generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, left: Sequence[int]
    ) -> list[list[Completion]]:
        """Return a group for each prompt: in one call, unless a long prompt leaves no room for it.

        A prompt always has room for the tokens that its own prefix leaves.
        """
        engine, context = self._continuing.engine, self._continuing.context
        most = max(1, *left)
        if context is None or max(len(p.token_ids) for p in prompts) + most <= context:
            return engine.generate(prompts, replace(sampling, max_tokens=most))
        groups: list[list[Completion]] = [[] for _ in prompts]
        for size in sorted(set(left)):
            chosen = [place for place, tokens in enumerate(left) if tokens == size]
            made = engine.generate(
                [prompts[place] for place in chosen], replace(sampling, max_tokens=max(1, size))
            )
            for place, group in zip(chosen, made, strict=True):
                groups[place] = group
        return groups

    def _add(
        self,
        problem_id: str,
        token_ids: tuple[int, ...],
        success: bool,
        made_for: Prefix | None = None,
    ) -> None:
        shortest = len(made_for[1]) if made_for else 0
        reused = 0
        for size in self._sizes.get(problem_id, ()):
            if size > len(token_ids):
                break
            if size < shortest:
                # Shorter prefixes did not sample this rollout: it was steered to the longer one.
                continue
            count = self._counts.get((problem_id, token_ids[:size]))
            if count is not None:
                count[0] += success
                count[1] += 1
                reused += made_for is None or size > shortest
        self.cost += LabelCost(reused=reused)

    def _text(self, token_ids: Sequence[int]) -> str:
        """Decode prefix and continuation together: apart, the space between could be lost."""
        tokenizer = self._continuing.tokenizer
        text = str(tokenizer.decode(list(token_ids), skip_special_tokens=True))
        return stops.before(text, self._continuing.sampling.stop)


def find_prefixes(
    continuing: Continuing, completions: Sequence[Completion], ends: Sequence[Sequence[int]]
) -> list[list[Prefix]]:
    """Return for each completion the sampled token ids up to each of its ends but the last."""
    mapping = TokenSteps(continuing.tokenizer)
    rows = []
    for completion, cut in zip(completions, ends, strict=True):
        steps = mapping.steps_of_tokens(completion.token_ids, completion.text, cut)
        sizes = [bisect.bisect_right(steps, step) for step in range(len(cut) - 1)]
        rows.append([(completion.problem_id, completion.token_ids[:size]) for size in sizes])
    return rows


def require(continuing: Continuing | None, labeler: str) -> Continuing:
    """Return the engine and prompts, or say that they are missing."""
    if continuing is None:
        raise ValueError(
            f"labeler {labeler!r} continues prefixes with the policy: it needs an engine, prompts, "
            "sampling and a tokenizer (Tools.continuing)"
        )
    return continuing
