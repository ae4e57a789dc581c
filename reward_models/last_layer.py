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

from iterative_grpo.attention import PLAIN, Attend, attending, kind
from iterative_grpo.forwards import replaced
from iterative_grpo.logps import rectangles
from iterative_grpo.logps.rectangles import Layout, Span, layout

# Share of the tokens that are read, above which the layer runs whole: to pick tokens takes copies.
READ = 0.75
# Pairs of a token that is read and one that it sees, above which it does, too: some kernels keep a
# score of each pair and head.
_PAIRS = 2**22


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

    Hooks on modules of the last layer other than itself and its attention see (M, C).

    Raises:
        UnsupportedModel: if the model asks `attend` for more than full causal attention.
    """
    layer = _last(model)
    read = sum(span.queries for span in spans)
    pairs = sum(span.queries * (span.prompt + span.length) for span in spans)
    if layer is None or read > READ * sum(span.length for span in spans) or pairs > _PAIRS:
        with attending(model, attend):
            return compute().flatten(0, 1).index_select(0, places)
    asked = layout(spans, places.device)
    with attending(model, attend, (layer, partial(_forward, asked, layer))):
        output_MX = compute().flatten(0, 1)
    if len(output_MX) != len(asked.places):
        raise RuntimeError(
            f"{type(model).__name__} returned {len(output_MX)} tokens where its last layer "
            f"computed {len(asked.places)}: it does not run the layers that it lists"
        )
    return output_MX.index_select(0, torch.searchsorted(asked.places, places))


def _last(model: Any) -> Any:
    """Return the last layer that runs, None if `_forward` is not what it and its attention do."""
    found = [
        (module, layers)
        for module in model.modules()
        if (layers := vars(module)["_modules"].get("layers"))
    ]
    if len(found) != 1:
        return None
    ((module, layers),) = found
    layer = layers[: getattr(getattr(module, "config", None), "num_hidden_layers", None)][-1]
    if kind(layer) not in {f"{family}DecoderLayer" for family in PLAIN}:
        return None
    attention = layer.self_attn
    if kind(attention) not in {f"{family}Attention" for family in PLAIN}:
        return None
    drops = layer.training and attention.attention_dropout
    return None if drops or _window(attention) or _touched(layer, attention) else layer


def _window(attention: Any) -> int | None:
    """Return how far back this layer sees, None for all the way."""
    if kind(attention) == "MistralAttention":
        return getattr(attention.config, "sliding_window", None)
    return getattr(attention, "sliding_window", None)


def _touched(*modules: Any) -> bool:
    """Whether somebody changed what one of the modules does, or looks at it."""
    return any(
        replaced(module)
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        for module in modules
    )


def _forward(
    layout: Layout,
    layer: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    **_: Any,
) -> torch.Tensor:
    """Return what the layer makes of `hidden_states` (B, T, C) at the layout's places, (1, M, C).

    Masks and caches are left aside: the layout says who sees whom, and each text is read once.
    """
    attention = layer.self_attn
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
    mixed = rectangles.attend(layout, query, key, value, attention.scaling)
    mixed_MC = mixed[0].transpose(0, 1).flatten(1)
    x_MC = hidden_NC.index_select(0, layout.places) + attention.o_proj(mixed_MC)
    output_MC: torch.Tensor = x_MC + layer.mlp(layer.post_attention_layernorm(x_MC))
    return output_MC[None]


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
