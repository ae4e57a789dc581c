"""The stored rollouts that `update.py` updates on: a random policy, GSM8K's texts, a tokenizer."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

# Qwen2 shapes: width, feed-forward, layers, heads, key heads, vocabulary.
SHAPES = {
    "1m": (128, 352, 2, 4, 2, 2048),
    "22m": (448, 1216, 8, 7, 7, 8192),
    "48m": (640, 1728, 8, 10, 2, 16384),
    "0.5b": (896, 4864, 24, 14, 2, 16384),
}
SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>"}


def make(options: argparse.Namespace, group: int, folder: Path) -> dict[str, Any]:
    """Save a random policy with its tokenizer, and return a generation as TRL stores it."""
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    width, feed_forward, layers, heads, key_heads, vocabulary = SHAPES[options.shape]
    rows = read(options.data)
    if not (folder / "config.json").exists():
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=trained_tokenizer(rows, vocabulary),
            padding_side="left",
            **SPECIAL,
        )
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=feed_forward,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
        Qwen2ForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    drawn = random.Random(0)
    chosen = drawn.sample(rows, options.prompts)
    prompts = [tokenizer(question + "\n")["input_ids"] for question, _ in chosen]
    completions = [
        [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]
        for _ in prompts
        for _, answer in drawn.sample(rows, group)
    ]
    repeated = [ids for ids in prompts for _ in range(group)]
    generator = torch.Generator().manual_seed(0)
    rewards_PG = torch.rand(options.prompts, group, generator=generator)
    advantages_PG = (rewards_PG - rewards_PG.mean(1, True)) / (
        rewards_PG.std(1, keepdim=True) + 1e-4
    )
    prompt_ids, prompt_mask = padded(repeated, tokenizer.pad_token_id, "left")
    completion_ids, completion_mask = padded(completions, tokenizer.pad_token_id, "right")
    batch = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": advantages_PG.flatten(),
        "num_items_in_batch": completion_mask.sum(),
    }
    return {name: value.to(options.device) for name, value in batch.items()}


def arguments(policy: Path, **own: Any) -> Any:
    """Return settings of TRL for the paper's loss, in full precision, that write and show nothing.

    On the CPU, unless `own` says otherwise.
    """
    from trl import GRPOConfig

    settings: dict[str, Any] = {
        "output_dir": str(policy.parent / "out"),
        "max_completion_length": 512,
        "beta": 0.04,
        "loss_type": "grpo",
        "use_bias_correction_kl": False,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "shuffle_dataset": False,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "log_level": "error",
    }
    return GRPOConfig(**{**settings, **own})


def read(folder: Path) -> list[tuple[str, str]]:
    """Return GSM8K's training questions with their worked solutions."""
    path = folder / "gsm8k" / "train.jsonl"
    if not path.exists():
        raise SystemExit(f"{path} does not exist; --data names a folder with gsm8k/train.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["question"], row["answer"]) for row in rows]


def trained_tokenizer(rows: list[tuple[str, str]], size: int) -> Any:
    """Return a byte-level BPE tokenizer with digits on their own, as those of Qwen2."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for row in rows for text in row), trainer)
    return tokenizer


def padded(rows: list[list[int]], pad: int, side: str) -> tuple[Any, Any]:
    """Return ids and mask (B, X)."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[index, place] = torch.tensor(row)
        mask[index, place] = 1
    return ids, mask
