"""Sampling engines, one file each: prompts in, groups of completions out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from iterative_grpo.protocols import Engine, Samplings
from iterative_grpo.types import Completion, Prompt


class OddGroups(ValueError):
    """An engine that returned other groups than it was asked for."""


def sampled_groups(
    engine: Engine, prompts: Sequence[Prompt], sampling: Samplings
) -> list[list[Completion]]:
    """Return the engine's groups; OddGroups unless they are those of these prompts, and whole.

    All that follows takes rows by their place: a group missed, or out of order, would be trained on
    as the answer to another question.
    """
    from iterative_grpo.engines._requests import per_prompt  # NumPy, which a listing can do without

    groups = engine.generate(prompts, sampling)
    wanted = [
        [prompt.problem_id] * own.group_size
        for prompt, own in zip(prompts, per_prompt(prompts, sampling), strict=True)
    ]
    found = [[completion.problem_id for completion in group] for group in groups]
    if found != wanted:
        pairs = enumerate(itertools.zip_longest(found, wanted))
        place = next(i for i, (one, other) in pairs if one != other)
        raise OddGroups(
            f"engine {type(engine).__module__} was asked for {len(wanted)} groups and returned "
            f"{len(found)}; group {place} is of {_counts(found, place)}, asked for was "
            f"{_counts(wanted, place)}: an engine returns group_size completions a prompt, in order"
        )
    return groups


def _counts(groups: Sequence[Sequence[str]], place: int) -> str:
    if place >= len(groups):
        return "nothing"
    group = groups[place]
    return f"{len(group)} completions of {', '.join(dict.fromkeys(group)) or 'no prompt'}"
