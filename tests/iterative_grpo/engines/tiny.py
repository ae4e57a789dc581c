"""Small random models of several families, with a word-level tokenizer that round-trips."""

from __future__ import annotations

from functools import cache

import torch
from tokenizers import Tokenizer, models
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from iterative_grpo.types import Prompt

VOCABULARY = 24
CONTEXT = 96
EOS, END = 1, 2
FAMILIES = ("llama", "qwen2", "gpt2", "gpt_neox")

# Wide enough that next-token distributions are far from uniform.
_SPREAD = 0.25


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<pad>": 0, "<eos>": EOS, "<end>": END}
    vocabulary |= {f"w{i}": i for i in range(3, VOCABULARY)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=["<end>"],
    )


def model(family: str, *, eos: int | list[int] | None = None, seed: int = 0) -> PreTrainedModel:
    """Return a float32 model in training mode with dropout where its family has it.

    `eos` None leaves no token in the vocabulary that ends a completion.
    """
    shape = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT,
        "initializer_range": _SPREAD,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    wide = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    torch.manual_seed(seed)
    if family == "llama":
        made = LlamaForCausalLM(LlamaConfig(**shape, **wide, attention_dropout=0.3))
    elif family == "qwen2":  # grouped queries: two heads share a key
        made = Qwen2ForCausalLM(Qwen2Config(**shape, **wide, num_key_value_heads=2))
    elif family == "gpt2":
        made = GPT2LMHeadModel(GPT2Config(**shape, n_embd=32, n_layer=2, n_head=4))
    elif family == "gpt_neox":
        made = GPTNeoXForCausalLM(GPTNeoXConfig(**shape, **wide, hidden_dropout=0.3))
    else:
        raise ValueError(f"unknown family {family!r}")
    made.generation_config.eos_token_id = eos
    return made.train()


class NoEos:
    """The tokenizer without an EOS id, for runs that must fill their length."""

    eos_token_id = None

    def decode(self, token_ids: list[int], skip_special_tokens: bool) -> str:
        return tokenizer().decode(token_ids, skip_special_tokens=skip_special_tokens)


def prompts(*lengths: int, seed: int = 0) -> list[Prompt]:
    """Return random prompts of the given lengths, free of special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Prompt(f"p{i}", tuple(torch.randint(3, VOCABULARY, (n,), generator=generator).tolist()))
        for i, n in enumerate(lengths)
    ]


def plain_logps(made: PreTrainedModel, prompt: Prompt, token_ids: tuple[int, ...]) -> torch.Tensor:
    """Return log-probabilities (T, V) of a plain, dropout-free forward at each new position."""
    was_training = made.training
    made.eval()
    with torch.no_grad():
        logits = made(torch.tensor([prompt.token_ids + token_ids])).logits[0]
    made.train(was_training)
    start = len(prompt.token_ids) - 1
    return logits[start : start + len(token_ids)].double().log_softmax(-1)
