"""Cutting a generation into micro-batches: what is trimmed changes no figure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iterative_grpo.trl_seam.batches import trim
from iterative_grpo.trl_seam.rows import EngineRows
from tests.iterative_grpo.test_trainer import G, PolicyMaker, generation, make
from tests.iterative_grpo.train_on_ranks import GivenEngine


def test_a_micro_batch_is_as_wide_as_its_own_longest_row(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path, per_device_train_batch_size=G)
    trainer._rows = EngineRows(GivenEngine(trainer.processing_class, first=0))
    trainer.model.train()
    rows = [trainer.train_dataset[i] for i in range(2) for _ in range(G)]
    widths = []
    for trainer._step in range(2):
        mask = trainer._prepare_inputs(rows)["completion_mask"]
        widths.append(mask.size(1))
        assert widths[-1] == int(mask.sum(dim=1).max())
    assert widths[0] != widths[1]


def test_every_value_of_tokens_is_trimmed_and_those_of_rows_stay() -> None:
    of_tokens = (
        "completion_ids",
        "advantages",
        "old_per_token_logps",
        "ref_per_token_logps",
        "sampling_per_token_logps",
        "importance_sampling_ratio",
    )
    table = torch.arange(12.0).view(2, 6)
    batch = {
        **dict.fromkeys((*of_tokens, "prompt_ids"), table),
        "prompt_mask": torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1]]),
        "completion_mask": torch.tensor([[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]]),
        "num_items_in_batch": torch.tensor(4),
    }
    found = trim(batch)
    assert all(torch.equal(found[name], table[:, :3]) for name in of_tokens)
    assert torch.equal(found["prompt_ids"], table[:, 4:])
    assert found["num_items_in_batch"] is batch["num_items_in_batch"]
    of_rows = trim({**batch, "importance_sampling_ratio": table[:, :1]})
    assert torch.equal(of_rows["importance_sampling_ratio"], table[:, :1])


def test_masked_outputs_beside_empty_ones_count_in_no_metric(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    """An answer of EOS alone, all others truncated and masked: one token counts."""
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    trainer.current_gradient_accumulation_steps = 1
    batch = generation(trainer)
    batch["completion_mask"][1:] = 0
    batch["completion_mask"][0, 1:] = 0
    for part in (batch, trim(batch)):
        trainer._compute_loss(trainer.model, part)
        trainer._deferred.merge(trainer)
    metrics = trainer._metrics["train"]
    for name in ("entropy", "kl", "clip_ratio/region_mean"):
        whole, trimmed = metrics[name]
        assert trimmed == pytest.approx(whole, rel=1e-5), name
    assert metrics["entropy"][0] > 0
