"""Cutting a generation into micro-batches without waste."""

from __future__ import annotations

from typing import Any

import torch

PADDED_LEFT = ("prompt_ids", "prompt_mask")
PADDED_RIGHT = (
    "completion_ids",
    "completion_mask",
    "advantages",
    "old_per_token_logps",
    "ref_per_token_logps",
    "sampling_per_token_logps",
    "importance_sampling_ratio",
)


def split_rows(batch: dict[str, Any], parts: int) -> list[dict[str, Any]]:
    """Cut every tensor of a generation (B, ...) into `parts` equal runs of rows, order kept.

    Scalars belong to every part.
    """
    rows = len(batch["prompt_ids"]) // parts
    return [
        {
            name: value[part * rows : (part + 1) * rows]
            if isinstance(value, torch.Tensor) and value.dim() > 0
            else value
            for name, value in batch.items()
        }
        for part in range(parts)
    ]


def trim(batch: dict[str, Any]) -> dict[str, Any]:
    """Drop the columns that are padding in every row: left of prompts, right of completions.

    What is computed for the remaining positions does not change: dropped positions are masked for
    every row. Of a prompt at least one column stays, of completions two if there are: TRL takes
    metrics of one column for one number a row, and counts masked rows.
    """
    prompt = max(int(batch["prompt_mask"].sum(dim=1).max()), 1)
    completion = max(int(batch["completion_mask"].sum(dim=1).max()), 2)
    trimmed = dict(batch)
    for name in PADDED_LEFT:
        trimmed[name] = batch[name][:, -prompt:]
    width = batch["completion_ids"].size(1)
    for name in PADDED_RIGHT:
        value = batch.get(name)
        # Sequence-level values have one column; they stay as they are.
        if isinstance(value, torch.Tensor) and value.dim() == 2 and value.size(1) == width:
            trimmed[name] = value[:, :completion]
    return trimmed
