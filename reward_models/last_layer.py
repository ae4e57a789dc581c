"""A decoder's last layer at the tokens where the head is read, and at no others.

That is one token of a text, or one a step. Of the other tokens nothing but the last layer's keys
and values is ever used: their queries, attention and feed-forward network are left out, and the
head behind them. Of L layers that saves nearly one.

Dimensions: B rows, T positions, C width, N = B * T tokens, M of them read; H heads, K key heads, D
head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from iterative_grpo.attention import Attend, UnsupportedModel, attending
from iterative_grpo.logps.attention import attend_packed
from iterative_grpo.logps.rectangles import Layout, Span, layout

# Share of the tokens that are read, above which the layer runs whole: to pick tokens takes copies.
READ = 0.75

# transformers' layers that compute what `_forward` does.
_KINDS = {
    (f"transformers.models.{name.lower()}.modeling_{name.lower()}", f"{name}DecoderLayer")
    for name in ("Llama", "Mistral", "Qwen2", "Qwen3")
}


def at(
    places: torch.Tensor,
    spans: Sequence[Span],
    model: Any,
    attend: Attend | None,
    compute: Callable[[], torch.Tensor],
) -> torch.Tensor:
    """Return what `compute` makes of some tokens, the last layer working on no others if it can.

    Args:
        places: the tokens, of all B * T.
        spans: what these tokens see; they cover all tokens and ask for each of `places`.
        model: a plain causal decoder that attends fully, or what holds one.
        attend: its attention, as in `attention.attending`.
        compute: runs the model and returns (B, T, X), the layers' output or what follows from it
            token by token.

    Returns:
        (places, X)

    Raises:
        UnsupportedModel: if the model asks for more than full causal attention.
    """
    layer = _last(model)
    read = sum(span.queries for span in spans)
    if layer is None or read > READ * sum(span.length for span in spans):
        with attending(model, attend):
            return compute().flatten(0, 1).index_select(0, places)
    asked = layout(spans, places.device)
    with attending(model, attend, (layer, partial(_forward, asked, layer))):
        output_MX = compute().flatten(0, 1)
    return output_MX.index_select(0, torch.searchsorted(asked.places, places))


def _last(model: Any) -> Any:
    """Return the last layer, None if it is of another kind or somebody changed it."""
    stacks = [
        layers for module in model.modules() if (layers := vars(module)["_modules"].get("layers"))
    ]
    if len(stacks) != 1:
        return None
    last = stacks[0][-1]
    known = (type(last).__module__, type(last).__name__) in _KINDS
    return last if known and _plain(last) else None


def _plain(layer: Any) -> bool:
    """Whether nobody changed what the layer and its attention do, or looks at it."""
    return not any(
        "forward" in vars(module)
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        for module in (layer, layer.self_attn)
    )


def _forward(
    layout: Layout,
    layer: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    past_key_values: Any = None,
    **_: Any,
) -> torch.Tensor:
    """Return what the layer makes of `hidden_states` (B, T, C) at the layout's places, (1, M, C).

    Masks are left aside: the layout says who sees whom.
    """
    attention = layer.self_attn
    if past_key_values is not None:
        raise UnsupportedModel(f"{type(layer).__name__} keeps a cache")
    if layer.training and attention.attention_dropout:
        raise UnsupportedModel(f"{type(layer).__name__} drops attention weights in training")
    if getattr(attention.config, "sliding_window", None) is not None:
        raise UnsupportedModel(f"{type(layer).__name__} attends in a window")
    rows = len(hidden_states)
    hidden_NC = hidden_states.flatten(0, 1)
    cos_N1D, sin_N1D = (x.expand(rows, -1, -1).flatten(0, 1)[:, None] for x in position_embeddings)
    normed_NC = layer.input_layernorm(hidden_NC)
    picked_MC, cos_M1D, sin_M1D = (
        x.index_select(0, layout.places) for x in (normed_NC, cos_N1D, sin_N1D)
    )
    query_MHD, key_NKD, value_NKD = (
        projection(x).unflatten(-1, (-1, attention.head_dim))
        for projection, x in (
            (attention.q_proj, picked_MC),
            (attention.k_proj, normed_NC),
            (attention.v_proj, normed_NC),
        )
    )
    if hasattr(attention, "q_norm"):
        query_MHD, key_NKD = attention.q_norm(query_MHD), attention.k_norm(key_NKD)
    query_MHD = _rotated(query_MHD, cos_M1D, sin_M1D)
    key_NKD = _rotated(key_NKD, cos_N1D, sin_N1D)
    query, key, value = (x.transpose(0, 1)[None] for x in (query_MHD, key_NKD, value_NKD))
    mixed = attend_packed(layout, query, key, value, attention.scaling)
    mixed_MC = mixed[0].transpose(0, 1).flatten(1)
    x_MC = hidden_NC.index_select(0, layout.places) + attention.o_proj(mixed_MC)
    output_MC: torch.Tensor = x_MC + layer.mlp(layer.post_attention_layernorm(x_MC))
    return output_MC[None]


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
