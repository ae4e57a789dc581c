"""What a policy phase trains on, on its way through TRL's data loader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iterative_grpo.trl_seam.task import Task
from iterative_grpo.types import Problem, Prompt
from tests.iterative_grpo.test_trainer import G, PolicyMaker, make


def test_each_problem_needs_a_prompt_and_a_text() -> None:
    problem = Problem("toy/0", "1+1=", "2", "toy")
    with pytest.raises(ValueError, match="1 problems, 1 prompts and 0 texts"):
        Task([problem], [Prompt(problem.id, (1,))], [])
    with pytest.raises(ValueError, match="1 problems, 0 prompts and 1 texts"):
        Task([problem], [], ["1+1="])


def test_rows_reach_every_micro_batch_as_they_are(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    # Their order is the task's, whatever TRL is told.
    trainer = make(tiny_policy(0, torch.float32), tmp_path, shuffle_dataset=True)
    rows = trainer.train_dataset
    batches = list(trainer.get_train_dataloader())
    # 2 G outputs in each of the two micro-batches of a step, and both ask for all of them.
    assert [len(batch) for batch in batches] == [4 * G] * 4
    for step, batch in enumerate(batches):
        expected = [rows[step // 2 * 4 + row // G] for row in range(4 * G)]
        assert all(found is row for found, row in zip(batch, expected, strict=True))
        assert batch[0] is expected[0]
