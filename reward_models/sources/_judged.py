"""What a model says at step ends, as rewards: the same for every model that rewards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iterative_grpo.protocols import Splitter
from iterative_grpo.types import Completion, Problem, StepRewards
from reward_models.sources._cuts import cut
from reward_models.types import as_rewarded

Ask = Callable[[Sequence[str], Sequence[str], Sequence[Sequence[int]]], list[tuple[float, ...]]]
"""Maps questions, texts and their ends to one value an end: `Scorer.score`, for one."""


def judged(
    ask: Ask,
    splitter: Splitter,
    problems: Sequence[Problem],
    completions: Sequence[Completion],
) -> list[StepRewards]:
    """Return the step rewards of each completion; component "model" is the same values.

    The fragment that the token limit cut off gets 0 (`as_rewarded`).
    """
    ends = cut(splitter, problems, completions)
    rows = ask([it.question for it in problems], [it.text for it in completions], ends)
    rewards = []
    for completion, row_ends, row in zip(completions, ends, rows, strict=True):
        values = as_rewarded(row, finished=not completion.truncated)
        rewards.append(StepRewards(row_ends, values, {"model": values}))
    return rewards
