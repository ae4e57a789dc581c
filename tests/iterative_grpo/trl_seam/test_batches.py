"""Cutting a generation into micro-batches: what is trimmed changes no figure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iterative_grpo.trl_seam.batches import trim
from tests.iterative_grpo.test_trainer import PolicyMaker, generation, make


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
