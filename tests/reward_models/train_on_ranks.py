"""Run as a process of a distributed group: train and write the weights of rank 0.

Arguments: output folder, number of rows, loss.
"""

from __future__ import annotations

import sys
from pathlib import Path

from accelerate import Accelerator

from pipelines import world
from reward_models.model import RewardModel
from reward_models.training import TrainingSettings, train
from tests.reward_models.making import additions, llama, words


def main() -> None:
    folder, count, loss = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    accelerator = Accelerator(cpu=True)
    tokenizer = words()
    model = RewardModel.from_shape(llama(len(tokenizer)), tokenizer)
    # Two questions for many rows: how many equal rows a process has, and whether it could share
    # questions, differs between processes.
    asked = ("Ann has 3 coins.", "Ann has 8 coins.")
    rows = [row for row in additions(9 * count, 1, steps=True) if row.question in asked][:count]
    report = train(
        model,
        rows,
        heldout=additions(21, 2, steps=True),
        settings=TrainingSettings(batch_size=16, loss=loss, patience=9, warmup=0, decay=0),
        accelerator=accelerator if accelerator.num_processes > 1 else None,
    )
    if accelerator.is_main_process:
        model.save(folder / f"on{accelerator.num_processes}")
        (folder / f"heldout{accelerator.num_processes}").write_text(repr(report.heldout_losses))


if __name__ == "__main__":
    main()
    world.leave()
