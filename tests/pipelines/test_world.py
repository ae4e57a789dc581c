"""Leaving the group of processes."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from pipelines import world


class Trainer:
    """Holds its model, and itself, as trainers with callbacks do."""

    def __init__(self) -> None:
        self.model = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
        self.myself = self


def test_nothing_holds_the_group_when_it_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    trainer = Trainer()
    held = weakref.ref(trainer.model)
    destroy = torch.distributed.destroy_process_group
    states: list[object] = []

    def watched() -> None:
        states.append(held())
        destroy()

    monkeypatch.setattr(torch.distributed, "barrier", lambda: states.append("waited"))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", watched)
    del trainer
    assert held() is not None
    world.leave()
    assert states == ["waited", None]
    assert not torch.distributed.is_initialized()


def test_who_is_in_no_group_leaves_none() -> None:
    world.leave()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("phase", "left"),
    [
        ("optimize", "FSDP DEEPSPEED bf16 accumulation"),
        ("retrain", "FSDP"),
        ("sample", ""),
        ("evaluate", ""),
        (None, ""),
    ],
)
def test_only_what_is_trained_is_sharded(
    phase: str | None, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {
        "ACCELERATE_USE_FSDP": "FSDP",
        "ACCELERATE_USE_DEEPSPEED": "DEEPSPEED",
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "accumulation",
    }
    for name in asked:
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    world.settle(phase)
    assert " ".join(what for name, what in asked.items() if name in os.environ) == left
    assert world.sharded() == bool(left)
    # Otherwise transformers gives all processes but the first models without weights.
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
