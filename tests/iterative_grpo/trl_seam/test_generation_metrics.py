"""TRL's view of its own process alone; two processes are in test_deferred_metrics.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from trl.trainer import grpo_trainer

from iterative_grpo.trl_seam.generation_metrics import Lengths
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


def test_figures_are_of_all_rows_and_of_those_that_ended() -> None:
    whole = Lengths.together([Lengths([3, 3], [5, 2], [True, False]), Lengths([4], [4], [False])])
    assert whole.tokens == 3 + 3 + 4 + 5 + 2 + 4
    assert whole.figures() == {
        "completions/mean_length": pytest.approx(11 / 3),
        "completions/min_length": 2.0,
        "completions/max_length": 5.0,
        "completions/clipped_ratio": pytest.approx(1 / 3),
        "completions/mean_terminated_length": 3.0,
        "completions/min_terminated_length": 2.0,
        "completions/max_terminated_length": 4.0,
    }
    cut = Lengths([3, 3], [5, 5], [True, True]).figures()
    assert {cut[f"completions/{which}_terminated_length"] for which in ("mean", "max")} == {0.0}


@pytest.mark.parametrize("number", [1, 3])
def test_another_trl_is_named(number: int, tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    trainer.accelerator = Pair(trainer.accelerator)

    def gather() -> None:
        for _ in range(number):  # of lengths, and none of truncation
            trainer.accelerator.gather(torch.tensor([3, 4]))

    with (
        pytest.raises(RuntimeError, match=f"gathers {number} tensors after sampling"),
        trainer._generation.alone(trainer),
    ):
        gather()


def test_one_process_is_left_alone(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    accelerator, gather_object = trainer.accelerator, grpo_trainer.gather_object
    trainer._generation.own = Lengths([3], [4], [False])
    with trainer._generation.own_texts(trainer), trainer._generation.alone(trainer):
        assert trainer.accelerator is accelerator
        assert grpo_trainer.gather_object is gather_object
    assert trainer._generation.own is None
