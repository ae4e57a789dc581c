"""Borrow a live model for sampling and give it back as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def borrowed(
    model: Any, attention: str | None = None, dtype: torch.dtype | None = None
) -> Iterator[None]:
    """Sample from `model` inside: no gradients, no dropout, no sampling defaults of its own.

    On leaving, each module's training flag, the attention implementation, the generation
    configuration object and the weights are back. The trainer trains this very object between two
    calls, so its modules are switched one by one: what was in evaluation mode stays there.

    Args:
        model: a transformers causal language model.
        attention: the name of the attention function to use inside, if not the model's own.
        dtype: the precision of the weights inside, if not the model's own.
    """
    import torch

    from iterative_grpo.attention import configs_of
    from iterative_grpo.precision import weights_in

    training = [module for module in model.modules() if module.training]
    configs = configs_of(model) if attention is not None else []
    implementations = [config._attn_implementation for config in configs]
    try:
        for module in training:
            module.training = False
        for config in configs:
            config._attn_implementation_internal = attention
        with torch.no_grad(), without_defaults(model), weights_in(model, dtype):
            yield
    finally:
        for module in training:
            module.training = True
        for config, implementation in zip(configs, implementations, strict=True):
            config._attn_implementation_internal = implementation


@contextmanager
def without_defaults(model: Any) -> Iterator[None]:
    """Take a model's own generation configuration away inside.

    `generate` fills what a call leaves open from it, which for many released models holds a
    repetition penalty, suppressed tokens or a top-k nobody asked for here.
    """
    from transformers import GenerationConfig

    # PEFT hands its own to the model inside of it.
    holders = [model, *([model.get_base_model()] if hasattr(model, "get_base_model") else [])]
    before = [(it, it.generation_config) for it in holders if hasattr(it, "generation_config")]
    try:
        for holder, _ in before:
            holder.generation_config = GenerationConfig.from_dict({})
        yield
    finally:
        for holder, defaults in before:
            holder.generation_config = defaults
