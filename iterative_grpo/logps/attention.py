"""Attention over a packed row: completions see their prompt and themselves.

A transformers attention function. A group's completions attend to the prompt's keys and values as
they are; the gradient of all of them flows back into the one prompt.

Dimensions: N packed tokens, Q query heads, K key heads, D head size, P prompt tokens, G and C as
in `packing`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from iterative_grpo.logps.packing import Group, Pack, Rectangle

# What a model may hand to an attention function without changing what is computed here.
_HARMLESS = frozenset(
    {
        "cache_position",
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "past_key_values",
        "position_embeddings",
        "position_ids",
        "return_dict",
        "use_cache",
    }
)

_entries = itertools.count()


class UnsupportedModel(ValueError):
    """A model whose attention is more than full causal attention."""


@contextmanager
def attending(model: Any, packed: Pack) -> Iterator[None]:
    """Let `model` attend as `packed` says; its own attention is back on leaving.

    Layers that are computed again for the gradient (checkpointing) do it inside of this too,
    whenever that is.
    """
    configs = {
        id(config): config
        for config in (getattr(module, "config", None) for module in model.modules())
        if hasattr(config, "_attn_implementation")
    }
    inside = partial(_inside, list(configs.values()), partial(_attend, packed))
    layers = [m for m in model.modules() if "_gradient_checkpointing_func" in vars(m)]
    checkpoints = [layer._gradient_checkpointing_func for layer in layers]
    for layer, checkpoint in zip(layers, checkpoints, strict=True):
        layer._gradient_checkpointing_func = partial(_checkpoint, checkpoint, inside)
    try:
        with inside():
            yield
    finally:
        for layer, checkpoint in zip(layers, checkpoints, strict=True):
            layer._gradient_checkpointing_func = checkpoint


@contextmanager
def _inside(configs: list[Any], function: Callable[..., Any]) -> Iterator[None]:
    # A name of its own each time: transformers makes no mask for a name that it does not know, and
    # a layer that is computed again may enter while the model's forward pass is still inside.
    name = f"iterative_grpo_shared_{next(_entries)}"
    before = [config._attn_implementation for config in configs]
    ALL_ATTENTION_FUNCTIONS[name] = function
    for config in configs:
        config._attn_implementation_internal = name
    try:
        yield
    finally:
        for config, implementation in zip(configs, before, strict=True):
            config._attn_implementation_internal = implementation
        ALL_ATTENTION_FUNCTIONS.pop(name)


def _checkpoint(
    checkpoint: Callable[..., Any],
    inside: Callable[[], Any],
    function: Callable[..., Any],
    *args: Any,
) -> Any:
    def run(*inputs: Any) -> Any:
        with inside():
            return function(*inputs)

    return checkpoint(run, *args)


def _attend(
    packed: Pack,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' attention functions do: (1, Q, N, D) in, (1, N, Q, D) out.

    Raises:
        UnsupportedModel: if the model asks for more than full causal attention.
    """
    name = type(module).__name__
    if attention_mask is not None:
        raise UnsupportedModel(f"{name} makes an attention mask of its own")
    if dropout:
        raise UnsupportedModel(f"{name} drops attention weights in training")
    for argument, given in kwargs.items():
        if given is not None and argument not in _HARMLESS:
            raise UnsupportedModel(f"{name} passes {argument}={given!r:.40}")
    sizes = [size for group in packed.groups for size in group.sizes]
    q, k, v = (iter(x[0].transpose(0, 1).split(sizes)) for x in (query, key, value))
    outputs = [
        part
        for group in packed.groups
        for part in _attend_group(group, zip(q, k, v, strict=True), scaling)
    ]
    return torch.cat(outputs)[None], None


def _attend_group(
    group: Group, parts: Iterator[tuple[torch.Tensor, ...]], scaling: float | None
) -> Iterator[torch.Tensor]:
    """Yield the outputs (tokens, Q, D) of a prompt and those of its completions, in packed order.

    Of `parts`, the queries, keys and values (tokens, heads, D) of a prompt and of each of its
    rectangles, those of this group are taken.
    """
    query, key, value = (x.transpose(0, 1)[None] for x in next(parts))
    grouped = query.size(1) != key.size(1)
    on_prompt = nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped
    )
    yield on_prompt[0].transpose(0, 1)
    P = group.prompt
    for rectangle in group.rectangles:
        own = [_rows(rectangle, x) for x in next(parts)]
        keys, values = (
            torch.cat([prompt.expand(rectangle.rows, -1, -1, -1), completions], dim=2)
            for prompt, completions in zip((key, value), own[1:], strict=True)
        )
        C = rectangle.columns
        visible = torch.ones(C, P + C, dtype=torch.bool, device=query.device).tril(diagonal=P)
        output = nn.functional.scaled_dot_product_attention(
            own[0], keys, values, attn_mask=visible, scale=scaling, enable_gqa=grouped
        )
        flat = output.transpose(1, 2).flatten(0, 1)
        yield flat if rectangle.kept is None else flat.index_select(0, rectangle.kept)


def _rows(rectangle: Rectangle, x: torch.Tensor) -> torch.Tensor:
    """Return a rectangle's tokens (tokens, heads, D) as (G, heads, C, D)."""
    if rectangle.padded is not None:
        x = x.index_select(0, rectangle.padded)
    return x.reshape(rectangle.rows, rectangle.columns, *x.shape[1:]).transpose(1, 2)
