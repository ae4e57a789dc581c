"""The random Llama that speed is measured on."""

from __future__ import annotations

from typing import Any

Sizes = tuple[int, int, int, int, int]
"""Width, feed-forward, layers, heads, vocabulary."""


def random_llama(sizes: Sizes, device: str, *, positions: int, key_heads: int | None = None) -> Any:
    """Return a model that knows no EOS; fewer `key_heads` than heads make grouped queries."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width, feed_forward, layers, heads, vocabulary = sizes
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads or heads,
        tie_word_embeddings=True,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).to(device)
