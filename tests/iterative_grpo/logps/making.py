"""Tiny decoders of several families, batches of ragged groups, and the plainest oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

FAMILIES = ("llama", "qwen2", "gpt2", "neox")
VOCABULARY = 50
TEMPERATURE = 0.7


def decoder(family: str, dtype: torch.dtype = torch.float64, spread: float = 0.3) -> Any:
    """Return a random model, the sharper the larger `spread`; in float64, all of it is."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": spread,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    model: Any
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**sizes, num_key_value_heads=2))
    elif family == "qwen2":
        model = Qwen2ForCausalLM(
            Qwen2Config(**sizes, num_key_value_heads=2, tie_word_embeddings=True)
        )
    elif family == "neox":
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**sizes))
    else:
        dropout = {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}
        model = GPT2LMHeadModel(GPT2Config(**sizes, n_positions=64, **dropout))
    return exact(model.to(dtype)) if dtype is torch.float64 else model.to(dtype)


def exact(model: nn.Module) -> nn.Module:
    """Replace norms that compute in float32 whatever their input is."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                own: Any = child
                norm = nn.RMSNorm(own.weight.shape, own.variance_epsilon, dtype=torch.float64)
                setattr(parent, name, norm)
    return model


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as TRL has them: `ids` and `mask` (B, P + T)."""

    ids: torch.Tensor
    mask: torch.Tensor
    columns: int


def batch(
    prompts: tuple[int, ...] = (9, 5, 1), group: int = 4, columns: int = 7, even: bool = False
) -> Batch:
    """Return groups with prompts of these lengths; unless `even`, completions are ragged."""
    generator = torch.Generator().manual_seed(group)

    def draw(length: int) -> torch.Tensor:
        return torch.randint(2, VOCABULARY, (length,), generator=generator)

    longest, rows = max(prompts), len(prompts) * group
    ids = torch.zeros(rows, longest + columns, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, length in enumerate(prompts):
        prompt = draw(length)
        for row in range(index * group, (index + 1) * group):
            # Row 0 is full, row 1 one token long, row 2 empty, as a masked truncated one.
            size = (
                columns if even else {0: columns, 1: 1, 2: 0}.get(row, int(draw(1)) % columns + 1)
            )
            ids[row, longest - length : longest] = prompt
            ids[row, longest : longest + size] = draw(size)
            mask[row, longest - length : longest + size] = 1
    return Batch(ids, mask, columns)


def oracle(model: Any, rows: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log-probabilities and entropies (B, T): one row at a time, without padding."""
    prompt = rows.ids.size(1) - rows.columns
    logps, entropies = [], []
    for ids, mask in zip(rows.ids, rows.mask, strict=True):
        start, length = int(mask[:prompt].sum()), int(mask[prompt:].sum())
        own = ids[mask.bool()]
        scores = (model(own[None]).logits[0, start - 1 : -1] / TEMPERATURE).log_softmax(-1)
        blank = (0, rows.columns - length)
        picked = scores.gather(-1, own[start:, None]).squeeze(-1)
        logps.append(nn.functional.pad(picked, blank))
        entropies.append(nn.functional.pad(-(scores.exp() * scores).sum(-1), blank))
    return torch.stack(logps), torch.stack(entropies)


def gradient(model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """Return the gradient of a loss in all trainable parameters as one vector."""
    model.zero_grad()
    loss.backward()
    return torch.cat(
        [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten()
            for p in model.parameters()
            if p.requires_grad
        ]
    )


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the relative distance of two vectors."""
    return float((found - expected).detach().norm() / expected.detach().norm())
