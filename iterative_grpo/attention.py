"""Attention of our own inside of transformers' models: how it is computed, and how it gets there.

On a CPU torch's kernel works tile by tile, which suits long texts: for some dozens of tokens it
takes half again as long as plain products, forward and backward.

Dimensions: B rows, H heads, K key heads, T queries, S positions seen, D head size.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from iterative_grpo.forwards import replacing
from iterative_grpo.precision import computed_in

PLAIN = ("Llama", "Mistral", "Qwen2", "Qwen3")
"""Families of transformers that are known by their classes: layers of one shape, plain causal
attention where they have no windows."""

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float | None], torch.Tensor]
"""From queries (B, H, T, D), keys and values (B, K, T, D) and their scaling to (B, H, T, D)."""

Replaced = tuple[torch.nn.Module, Callable[..., torch.Tensor]]
"""A module, and what it does instead of its `forward`."""

Change = Callable[[], AbstractContextManager[None]]
"""Makes a context in which something of a model is changed."""

# Positions seen up to which plain products are faster on a CPU (32 to 42 rows of 4 heads: 1.4 to
# 1.6 times at 46 and 48, as fast at 128).
SMALL = 64

# What a model may hand to an attention function without changing what is computed here.
_HARMLESS = frozenset(
    {
        "cache_position",
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
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


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    visible: torch.Tensor | None,
    scaling: float | None = None,
) -> torch.Tensor:
    """Return (B, H, T, D) of queries (B, H, T, D) to keys and values (B, K, S, D).

    Args:
        query, key, value: K divides H; neighbouring heads share keys.
        visible: true where a query sees a position, (T, S) or (B, 1, T, S); by default query t sees
            the positions up to t.
        scaling: of the products, 1 / sqrt(D) by default.
    """
    exact = query.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    if exact and key.size(2) <= SMALL and query.device.type == "cpu":
        if visible is None:
            visible = query.new_ones(query.size(2), key.size(2), dtype=torch.bool).tril()
        scaling = query.size(-1) ** -0.5 if scaling is None else scaling
        apply: Any = _Small.apply
        small: torch.Tensor = apply(query, key, value, visible, scaling)
        return small
    return scaled_dot_product(query, key, value, visible, scaling)


def scaled_dot_product(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    visible: torch.Tensor | None,
    scaling: float | None = None,
) -> torch.Tensor:
    """Return what `attend` does, by torch's kernels.

    A GPU's kernels share keys among heads in half precision and without a mask. Else torch would
    take the one that stores all scores, for the gradient too: so keys and values are repeated.
    """
    shared_by = query.size(1) // key.size(1)
    if (
        shared_by > 1
        and query.device.type != "cpu"
        and (visible is not None or computed_in(query.device, query.dtype).itemsize > 2)
    ):
        key, value = (x.repeat_interleave(shared_by, dim=1) for x in (key, value))
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=visible,
        is_causal=visible is None,
        scale=scaling,
        enable_gqa=query.size(1) != key.size(1),
    )


class _Small(torch.autograd.Function):
    """Plain products that keep the weights for the gradient.

    Rows and key heads are one batch; the queries that share a key follow each other.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        visible: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        B, H, T, _ = query.shape
        K, S = key.shape[1:3]
        hidden = query.new_zeros(visible.shape).masked_fill_(~visible, -float("inf"))
        if H > K or visible.ndim > 2:
            # (T, S) or (B, 1, T, S) for each row, key head and sharing query.
            hidden = (
                hidden.view(-1, 1, 1, T, S).expand(B, K, H // K, T, S).reshape(-1, H // K * T, S)
            )
        query, key, value = (x.reshape(B * K, -1, x.size(-1)) for x in (query, key, value))
        weights = torch.baddbmm(hidden, query, key.mT, alpha=scaling).softmax(-1)
        ctx.save_for_backward(query, key, value, weights)
        ctx.scaling, ctx.rows = scaling, B
        return torch.bmm(weights, value).view(B, H, T, -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, weights = ctx.saved_tensors
        gradient = gradients[0].reshape(len(query), -1, value.size(-1))
        of_value = torch.bmm(weights.mT, gradient)
        of_weights = torch.bmm(gradient, value.mT)
        of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        none = weights.new_zeros(())
        of_query = torch.baddbmm(none, of_scores, key, alpha=ctx.scaling)
        of_key = torch.baddbmm(none, of_scores.mT, query, alpha=ctx.scaling)
        B = ctx.rows
        T = gradients[0].size(2)
        return (
            of_query.view(B, -1, T, query.size(-1)),
            of_key.view(B, -1, *key.shape[1:]),
            of_value.view(B, -1, *value.shape[1:]),
            None,
            None,
        )


def kind(module: Any) -> str | None:
    """Return the name of a class of transformers' own `PLAIN` families, None for any other."""
    own = {f"transformers.models.{name.lower()}.modeling_{name.lower()}" for name in PLAIN}
    return type(module).__name__ if type(module).__module__ in own else None


def more_than_plain(config: Any) -> str | None:
    """Return what a text configuration says of attention beyond full causal attention, if anything.

    A window that is all in a model's masks (PhiMoE's) is seen here alone: attention functions of
    our own get no masks.
    """
    if getattr(config, "add_cross_attention", False):
        return "cross-attention"
    layer_types = getattr(config, "layer_types", None)
    kinds = set(layer_types or ()) - {"full_attention"}
    if kinds:
        return f"layers of {', '.join(sorted(kinds))}"
    # A leftover in a configuration whose class has no window (Llama, converted) is no window.
    known = "sliding_window" in inspect.signature(type(config).__init__).parameters
    window = getattr(config, "sliding_window", None) if known else None
    if window and not layer_types and getattr(config, "use_sliding_window", True):
        return f"sliding_window={window}"
    rope = getattr(config, "rope_parameters", None) or {}
    # Of all layers, or of each kind of layers.
    for each in (rope, *(own for own in rope.values() if isinstance(own, dict))):
        if each.get("rope_type") in ("dynamic", "longrope"):
            # Their angles depend on the longest row of a batch, so rows cannot be batched freely.
            return f"{each['rope_type']} rotary positions"
    return None


def more_asked(
    module: torch.nn.Module, attention_mask: torch.Tensor | None, others: Mapping[str, Any]
) -> str | None:
    """Return what a layer hands to its attention function beyond full causal attention, if any."""
    name = type(module).__name__
    if attention_mask is not None:
        return f"{name} makes an attention mask of its own"
    for argument, given in others.items():
        if given is not None and argument not in _HARMLESS:
            return f"{name} passes {argument}={given!r:.40}"
    return None


@contextmanager
def attending(
    model: Any, function: Attend | None, replaced: Replaced | None = None
) -> Iterator[None]:
    """Let `model` attend by this function, unmasked; its own attention is back on leaving.

    Layers that are computed again for the gradient (checkpointing) do it inside of this too,
    whenever that is.

    Args:
        model: a transformers model, or what holds one.
        function: computes attention; None leaves the model its own.
        replaced: a module of the model that does something else meanwhile.

    Raises:
        UnsupportedModel: inside, if the model asks for more than full causal attention.
    """
    changes: list[Change] = []
    if function is not None:
        # Found once: layers that are computed again enter anew.
        changes.append(partial(_named, configs_of(model), partial(_as_asked, function)))
    if replaced is not None:
        changes.append(partial(replacing, *replaced))
    inside = partial(_all, changes)
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


def configs_of(model: Any) -> list[Any]:
    """Return the distinct configurations that the model's modules read their attention from."""
    found = (getattr(module, "config", None) for module in model.modules())
    return list({id(it): it for it in found if hasattr(it, "_attn_implementation")}.values())


@contextmanager
def _named(configs: Sequence[Any], function: Callable[..., Any]) -> Iterator[None]:
    """Let the modules with these configurations attend by a function."""
    before = [config._attn_implementation for config in configs]
    # A name of its own each time: transformers makes no mask for a name that it does not know, and
    # a layer that is computed again may enter while the model's forward pass is still inside.
    name = f"iterative_grpo_attention_{next(_entries)}"
    ALL_ATTENTION_FUNCTIONS[name] = function
    for config in configs:
        config._attn_implementation_internal = name
    try:
        yield
    finally:
        for config, implementation in zip(configs, before, strict=True):
            config._attn_implementation_internal = implementation
        ALL_ATTENTION_FUNCTIONS.pop(name)


@contextmanager
def _all(changes: Sequence[Change]) -> Iterator[None]:
    with ExitStack() as stack:
        for change in changes:
            stack.enter_context(change())
        yield


def _checkpoint(
    checkpoint: Callable[..., Any],
    inside: Change,
    function: Callable[..., Any],
    *args: Any,
) -> Any:
    def run(*inputs: Any) -> Any:
        with inside():
            return function(*inputs)

    return checkpoint(run, *args)


def _as_asked(
    function: Attend,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' attention functions do: (B, H, T, D) in, (B, T, H, D) out.

    Raises:
        UnsupportedModel: if the model asks for more than full causal attention.
    """
    reason = more_asked(module, attention_mask, kwargs)
    if reason is None and dropout:
        reason = f"{type(module).__name__} drops attention weights in training"
    if reason is not None:
        raise UnsupportedModel(reason)
    return function(query, key, value, scaling).transpose(1, 2), None
