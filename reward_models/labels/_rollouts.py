"""Continuations of prefixes, kept by token ids so that each serves all prefixes it passes through.

Given that a rollout starts with a prefix, the rest of it is a sample of how the policy continues
that prefix. So the group's own completions, and continuations made for a shorter prefix, are trials
for every prefix on their way, as good as continuations made for it: all are sampled alike.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from iterative_grpo import stops
from iterative_grpo.engines import sampled_groups
from iterative_grpo.protocols import Remembering
from iterative_grpo.steps import TokenSteps
from iterative_grpo.types import Completion, Prompt
from reward_models.protocols import Continuing, Verify
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
        verify: Verify,
        continuing: Continuing,
        *,
        share: bool = True,
    ) -> None:
        self._counts: dict[Prefix, list[int]] = {prefix: [0, 0] for prefix in prefixes}
        sizes: dict[str, set[int]] = defaultdict(set)
        for problem_id, token_ids in self._counts:
            sizes[problem_id].add(len(token_ids))
        self._sizes = {problem_id: sorted(found) for problem_id, found in sizes.items()}
        self._answers, self._verify, self._continuing = answers, verify, continuing
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

    def sample(self, needs: Mapping[Prefix, int]) -> None:
        """Continue each prefix as often as it needs, in one call of the engine; verify and count.

        A continuation gets the tokens that its prefix leaves of a completion's limit.
        """
        whole = self._continuing.sampling.max_tokens
        for prefix, number in needs.items():
            if len(prefix[1]) >= whole:
                # Nothing can follow, not even EOS: all have failed without being sampled.
                self._counts[prefix][1] += number
        needs = {prefix: number for prefix, number in needs.items() if len(prefix[1]) < whole}
        made = [
            (prefix, completion)
            for prefix, group in zip(needs, self._generate(needs), strict=True)
            for completion in group
        ]
        asked = [
            (self._text(token_ids + completion.token_ids), self._answers[problem_id])
            for (problem_id, token_ids), completion in made
            if not completion.truncated
        ]
        verdicts = iter(self._verify(asked))
        for prefix, completion in made:
            success = not completion.truncated and next(verdicts).correct
            if self._share:
                self._add(prefix[0], prefix[1] + completion.token_ids, success, made_for=prefix)
            else:
                self._counts[prefix][0] += success
                self._counts[prefix][1] += 1
        tokens = sum(len(completion.token_ids) for _, completion in made)
        self.cost += LabelCost(rollouts=len(made), tokens=tokens)

    def _generate(self, needs: Mapping[Prefix, int]) -> list[list[Completion]]:
        # An engine's streams depend on seed and prompt: each round needs a seed of its own.
        self._rounds += 1
        continuing = self._continuing
        whole = continuing.sampling
        prompts, samplings = [], []
        for (problem_id, token_ids), number in needs.items():
            ids = continuing.prompts[problem_id].token_ids + token_ids
            prompts.append(Prompt(problem_id, ids))
            samplings.append(
                replace(
                    whole,
                    group_size=number,
                    max_tokens=whole.max_tokens - len(token_ids),
                    seed=whole.seed + 7919 * self._rounds,
                )
            )
        return sampled_groups(continuing.engine, prompts, samplings)

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
        counts = mapping.tokens_of_steps(completion.token_ids, completion.text, cut)
        sizes = itertools.accumulate(counts[:-1])
        rows.append([(completion.problem_id, completion.token_ids[:size]) for size in sizes])
    return rows


def remembering(continuing: Continuing) -> AbstractContextManager[None]:
    """Let an engine that can keep what it computes of questions and steps for the calls inside."""
    engine = continuing.engine
    return engine.remembering() if isinstance(engine, Remembering) else nullcontext()


def require(continuing: Continuing | None, labeler: str) -> Continuing:
    """Return the engine and prompts, or say that they are missing."""
    if continuing is None:
        raise ValueError(
            f"labeler {labeler!r} continues prefixes with the policy: it needs an engine, prompts, "
            "sampling and a tokenizer (Tools.continuing). A run hands them to a labeler whose file "
            "says CONTINUES = True"
        )
    return continuing
