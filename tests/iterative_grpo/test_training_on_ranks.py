"""One process and two credit the same rollouts alike, also where a group is cut between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.iterative_grpo.ranks import launch


def train(policy: Path, output: Path, processes: int, rows: int) -> list[dict[str, Any]]:
    output.mkdir()
    launch("train_on_ranks", processes, output, policy, output, rows)
    parts = [output / f"rollouts-{rank}.json" for rank in range(processes)]
    return [row for part in parts for row in json.loads(part.read_text(encoding="utf-8"))]


@pytest.mark.slow
def test_two_processes_give_the_advantages_of_one(
    tiny_policy: Callable[[int, torch.dtype], Path], tmp_path: Path
) -> None:
    policy = tiny_policy(0, torch.float32)
    # Three groups of four on two processes: the middle group is cut in half.
    alone = train(policy, tmp_path / "one", processes=1, rows=12)
    together = train(policy, tmp_path / "two", processes=2, rows=6)
    assert [row["text"] for row in alone] == [row["text"] for row in together]
    assert [row["advantages"] for row in alone] == [row["advantages"] for row in together]
    assert len({tuple(row["advantages"]) for row in alone}) > 6
    after = [
        AutoModelForCausalLM.from_pretrained(tmp_path / side / "after") for side in ("one", "two")
    ]
    start = AutoModelForCausalLM.from_pretrained(policy)
    for one, two, before in zip(*(m.parameters() for m in (*after, start)), strict=True):
        assert not torch.equal(one, before) or one.numel() == 1
        # Adam's first step is the sign of the gradient: rounding may turn a sign near zero.
        assert ((one - two).abs() < 1e-4).float().mean() > 0.98
