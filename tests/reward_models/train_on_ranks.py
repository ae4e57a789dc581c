"""Run as a process of a distributed group: train and write the weights of rank 0.

Arguments: output folder, number of rows, loss, `lora` to train an adapter, `pieces` to compute a
few rows at once, `overfit` to train until held-out rows are judged worse.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator

from benchmarks import shards_on_cpu
from pipelines import world
from reward_models import training
from reward_models.adapters import lora
from reward_models.model import RewardModel
from reward_models.training import TrainingSettings, train
from reward_models.types import LabeledSolution
from tests.reward_models.making import additions, llama, words


def main() -> None:
    folder, count, loss = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if world.sharded():
        shards_on_cpu.allow()
    accelerator = Accelerator(cpu=True)
    tokenizer = words()
    model = RewardModel.from_shape(llama(len(tokenizer)), tokenizer)
    # Two questions for many rows: how many equal rows a process has, and whether it could share
    # questions, differs between processes.
    asked = ("Ann has 3 coins.", "Ann has 8 coins.")
    rows = [row for row in additions(9 * count, 1, steps=True) if row.question in asked][:count]
    fit = TrainingSettings(batch_size=16, loss=loss, patience=9, warmup=0, decay=0)
    if "overfit" in sys.argv:
        fit = replace(fit, epochs=6, learning_rate=0.03)
    if "pieces" in sys.argv:
        training.PIECE = 30
    torch.manual_seed(0)  # of the adapter, as phases seed every process
    with lora(model, rank=2, alpha=4) if "lora" in sys.argv else nullcontext():
        report = train(
            model,
            rows,
            heldout=additions(21, 2, steps=True),
            settings=fit,
            accelerator=accelerator if accelerator.num_processes > 1 else None,
        )
    assert (model.model is None) == (world.sharded() and not accelerator.is_main_process)
    if accelerator.is_main_process and "overfit" in sys.argv:
        assert report.kept_step < report.steps
        best = min(report.heldout_losses)
        assert abs(loss_of(model, additions(21, 2, steps=True)) - best) < 1e-5
    if accelerator.is_main_process:
        model.save(folder / f"on{accelerator.num_processes}")
        (folder / f"heldout{accelerator.num_processes}").write_text(repr(report.heldout_losses))


def loss_of(model: RewardModel, rows: list[LabeledSolution]) -> float:
    """Return the mean binary cross-entropy over all ends."""
    found = model.logits(
        [row.question for row in rows], [row.text for row in rows], [row.ends for row in rows]
    )
    logits = torch.tensor([value for row in found for value in row])
    labels = torch.tensor([label for row in rows for label in row.labels])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    return float(loss)


if __name__ == "__main__":
    main()
    world.leave()
