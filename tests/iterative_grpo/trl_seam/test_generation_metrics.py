"""TRL's view of its own process alone; two processes are in test_deferred_metrics.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trl.trainer import grpo_trainer

from tests.iterative_grpo.test_trainer import make
from tests.iterative_grpo.trl_seam.test_deferred_metrics import Pair

PolicyMaker = Callable[[int, torch.dtype], Path]


def test_what_stood_in_is_gone_after_a_failure(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    trainer.accelerator = pair = Pair(trainer.accelerator)
    gather_object = grpo_trainer.gather_object

    def fail() -> None:
        assert trainer.accelerator is not pair
        assert grpo_trainer.gather_object(["a"]) == ["a"]
        raise ValueError("no more memory")

    with (
        pytest.raises(ValueError, match="no more memory"),
        trainer._generation.own_texts(trainer),
        trainer._generation.alone(trainer),
    ):
        fail()
    assert trainer.accelerator is pair
    assert grpo_trainer.gather_object is gather_object


def test_another_trl_is_named(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    trainer.accelerator = Pair(trainer.accelerator)
    with (
        pytest.raises(RuntimeError, match="gathers 1 tensors after sampling"),
        trainer._generation.alone(trainer),
    ):
        trainer.accelerator.gather(torch.tensor([3, 4]))


def test_one_process_is_left_alone(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    accelerator, gather_object = trainer.accelerator, grpo_trainer.gather_object
    with trainer._generation.own_texts(trainer), trainer._generation.alone(trainer):
        assert trainer.accelerator is accelerator
        assert grpo_trainer.gather_object is gather_object
    assert trainer._generation.own is None
