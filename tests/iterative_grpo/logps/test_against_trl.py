"""The trainer's loss and gradient by path, against stock TRL on the same rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

from iterative_grpo import trainer as ours
from iterative_grpo.advantages.outcome import Rule
from iterative_grpo.logps.paths import Path as LogpsPath
from iterative_grpo.normalize import Normalizer
from iterative_grpo.trl_seam.batches import split_rows, trim
from iterative_grpo.types import Problem, Prompt
from tests.iterative_grpo.logps.making import Batch, batch, decoder, distance

GROUP = 4


def no_reward(**_: Any) -> list[float]:
    raise RuntimeError("nothing is scored here")


class NoSource:
    def score(self, problems: Any, completions: Any) -> Any:
        raise RuntimeError("nothing is scored here")


def arguments(folder: Path, micro_batches: int) -> GRPOConfig:
    return GRPOConfig(
        output_dir=str(folder / "out"),
        per_device_train_batch_size=3 * GROUP // micro_batches,
        gradient_accumulation_steps=micro_batches,
        num_generations=GROUP,
        beta=0.04,
        temperature=0.7,
        loss_type="grpo",
        use_bias_correction_kl=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )


def stock_trainer(policy: Path, tokenizer: Any, args: GRPOConfig) -> GRPOTrainer:
    return GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(policy),
        reward_funcs=[no_reward],
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "1"}] * 12),
        processing_class=tokenizer,
    )


def our_trainer(policy: Path, tokenizer: Any, args: GRPOConfig, path: LogpsPath) -> Any:
    problem = Problem("toy/0", "1", "2", "toy")
    trainer = ours.IterativeGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(policy),
        args=args,
        task=ours.Task([problem] * 12, [Prompt("toy/0", (2,))] * 12, ["1"] * 12),
        source=NoSource(),
        credit=ours.Credit(Rule(), Normalizer()),
        tokenizer=tokenizer,
    )
    trainer.logps_path = path
    return trainer


def rollouts(rows: Batch) -> dict[str, Any]:
    """A stored generation; old and reference log-probabilities come from the trainer."""
    generator = torch.Generator().manual_seed(5)
    prompts, completions = rows.ids[:, : -rows.columns], rows.ids[:, -rows.columns :]
    return {
        "prompt_ids": prompts,
        "prompt_mask": rows.mask[:, : -rows.columns],
        "completion_ids": completions,
        "completion_mask": rows.mask[:, -rows.columns :],
        "advantages": torch.randn(len(rows.ids), generator=generator),
        "num_items_in_batch": rows.mask[:, -rows.columns :].sum(),
    }


def update(trainer: Any, rows: Batch, micro_batches: int) -> tuple[float, torch.Tensor]:
    """Loss and gradient of one optimizer step, cut into micro-batches as the trainer cuts."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        # Away from the reference, so that the KL term takes part.
        for parameter in trainer.model.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = micro_batches
    generation = rollouts(rows)
    with torch.no_grad():
        generation["ref_per_token_logps"], _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.ref_model, rows.ids, rows.mask, rows.columns, batch_size=5
        )
    if isinstance(trainer, ours.IterativeGRPOTrainer):
        parts = [trim(part) for part in split_rows(generation, micro_batches)]
    else:
        parts = split_tensor_dict(shuffle_sequence_dict(generation), micro_batches)
    total = 0.0
    for part in parts:
        loss = trainer._compute_loss(trainer.model, part)
        loss.backward()
        total += float(loss.detach())
    return total, torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize("micro_batches", [1, 3])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_every_path_has_stock_trls_loss_and_gradient(
    family: str, micro_batches: int, tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    policy = tmp_path / "policy"
    decoder(family, torch.float32, spread=0.1).save_pretrained(policy)
    tiny_tokenizer.save_pretrained(policy)
    # Learned positions: TRL counts padding on the left, so prompts are of one length there.
    rows = batch((6, 6, 6) if family == "gpt2" else (9, 5, 1), GROUP)
    args = arguments(tmp_path, micro_batches)
    loss, gradient = update(stock_trainer(policy, tiny_tokenizer, args), rows, micro_batches)
    for path in get_args(LogpsPath):
        found = update(our_trainer(policy, tiny_tokenizer, args, path), rows, micro_batches)
        assert found[0] == pytest.approx(loss, rel=1e-5, abs=1e-7)
        assert distance(found[1], gradient) < 2e-6, path
