"""Sampling the rows of a trainer's batch, one prompt each, as the groups that they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iterative_grpo.engines import sampled_groups
from iterative_grpo.protocols import Engine
from iterative_grpo.types import Completion, Finish, Problem, Prompt, Sampling


class EngineRows:
    """Samples rows for TRL and keeps their records, so that TRL need not decode them again."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sampled: list[Completion] = []

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[NDArray[np.int64]]:
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
        groups = sampled_groups(self.engine, prompts, samplings)
        self._sampled = [completion for group in groups for completion in group]
        # TRL makes a tensor of each, which takes several times as long from a list.
        return [np.array(completion.token_ids) for completion in self._sampled]

    @contextmanager
    def decoded(self, trainer: Any) -> Iterator[None]:
        """Let TRL have the engine's texts where it asks its tokenizer for them inside."""
        tokenizer = trainer.processing_class
        trainer.processing_class = self
        try:
            yield
        finally:
            trainer.processing_class = tokenizer

    def batch_decode(self, sequences: Any, *, skip_special_tokens: bool) -> list[str]:
        """Return the texts of the rows that were sampled last, as TRL asks a tokenizer for them."""
        return [completion.text for completion in self._sampled]

    def records(self, problems: Sequence[Problem], group_size: int) -> list[Completion]:
        """Return the rows that were sampled last as completions of these problems (B,)."""
        return [
            replace(completion, problem_id=problem.id, sample=row % group_size, logps=())
            for row, (problem, completion) in enumerate(zip(problems, self._sampled, strict=True))
        ]


def records_of_trl(
    problems: Sequence[Problem],
    texts: Sequence[str],
    ids: Sequence[Sequence[int]],
    eos_token_ids: Sequence[int],
    group_size: int,
) -> list[Completion]:
    """Return rows that TRL sampled, without stop strings, as completions of these problems (B,)."""
    return [
        Completion(
            problem_id=problem.id,
            sample=row % group_size,
            text=text,
            token_ids=tuple(own),
            finish=Finish.STOP if own[-1] in eos_token_ids else Finish.LENGTH,
        )
        for row, (problem, text, own) in enumerate(zip(problems, texts, ids, strict=True))
    ]
