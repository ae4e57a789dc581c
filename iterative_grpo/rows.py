"""Sampling the rows of a trainer's batch, one prompt each, as the groups that they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    sampled: list[list[int]] = [[] for _ in prompt_ids]
    starts = [0]
    for _, size in runs:
        starts.append(starts[-1] + size)
    # One call for each size of run: groups that process borders cut have sizes of their own.
    for size in sorted({size for _, size in runs}):
        chosen = [index for index, (_, n) in enumerate(runs) if n == size]
        groups = engine.generate(
            [Prompt(f"{starts[index]}", tuple(runs[index][0])) for index in chosen],
            replace(sampling, group_size=size),
        )
        for index, group in zip(chosen, groups, strict=True):
            for offset, completion in enumerate(group):
                sampled[starts[index] + offset] = list(completion.token_ids)
    return sampled
