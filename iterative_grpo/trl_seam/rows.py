"""Sampling the rows of a trainer's batch, one prompt each, as the groups that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from iterative_grpo.engines import sampled_groups
from iterative_grpo.protocols import Engine
from iterative_grpo.types import Prompt, Sampling


def sample_rows(
    engine: Engine, prompt_ids: Sequence[Sequence[int]], sampling: Sampling
) -> list[list[int]]:
    """Return the ids of one completion for each row; equal neighbours are sampled as one group.

    A group has at most `sampling.group_size` rows, and fewer where a process border cut it.
    """
    runs: list[tuple[Sequence[int], int]] = []
    for ids in prompt_ids:
        if runs and runs[-1][0] == ids and runs[-1][1] < sampling.group_size:
            runs[-1] = (ids, runs[-1][1] + 1)
        else:
            runs.append((ids, 1))
    prompts, samplings = [], []
    row = 0
    for ids, size in runs:
        prompts.append(Prompt(f"{row}", tuple(ids)))
        samplings.append(replace(sampling, group_size=size))
        row += size
    groups = sampled_groups(engine, prompts, samplings)
    return [list(completion.token_ids) for group in groups for completion in group]
