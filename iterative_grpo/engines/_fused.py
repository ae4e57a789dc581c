"""Decoding steps in fewer operations, for decoders of Llama's shape.

A step of a small model is bound by how many operations it takes, not by what they multiply:
transformers' layer takes some seventy a token, most of them on a few kilobytes. Here queries, keys
and values are one product, gate and up another, the weights of norms belong to the products behind
them, and residuals are added by the products in front of them. The weights are those of the model,
joined anew for each call of the engine. Models of another shape run their own layers.

Dimensions: A rows, P positions, C width, F inner width; H heads, K key heads, D head size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from iterative_grpo.attention import PLAIN, kind
from iterative_grpo.engines._shared_cache import SharedCache, SharedLayer
from iterative_grpo.forwards import replaced, replaced_by_trl

# Joined weights are copies. Models with more of them are bound by their products: on a GPU later,
# which waits for Python at every launch.
_JOINED_BYTES = {"cpu": 2**30}
_JOINED_BYTES_ELSEWHERE = 2**32
# The parts of a layer that are written out here, by the ends of their classes' names.
_PARTS = {
    "": "DecoderLayer",
    "self_attn": "Attention",
    "mlp": "MLP",
    "input_layernorm": "RMSNorm",
    "post_attention_layernorm": "RMSNorm",
}


def supports(model: Any) -> bool:
    """Whether `FusedLayers` computes what this model's own layers would.

    They must be untouched: no part exchanged, no adapters, no hooks, no replaced `forward`
    (autocast's, for one) and no autocast around, no quantised or sharded weights. Embeddings alone
    are called as the model does, with the hook that gradient checkpointing puts there.
    """
    family = next((name for name in PLAIN if kind(model) == f"{name}ForCausalLM"), None)
    if family is None or not all(
        kind(layer.get_submodule(path)) == f"{family}{part}"
        for layer in model.model.layers
        for path, part in _PARTS.items()
    ):
        return False
    if model.config.hidden_act != "silu" or model.device.type == "meta":
        return False
    if torch.is_autocast_enabled(model.device.type):
        return False
    for module in model.modules():
        changed = replaced(module) and not (module is model and replaced_by_trl(model))
        hooked = module._forward_hooks or module._forward_pre_hooks
        if (hooked or changed) and module is not model.model.embed_tokens:
            return False
    linear = [module for layer in model.model.layers for module in _linear(layer)]
    if not all(type(module) is nn.Linear for module in linear):
        return False
    plain = all(type(parameter) is nn.Parameter for parameter in model.parameters())
    one_dtype = len({parameter.dtype for parameter in model.parameters()}) == 1
    one_device = len({parameter.device for parameter in model.parameters()}) == 1
    allowed = _JOINED_BYTES.get(model.device.type, _JOINED_BYTES_ELSEWHERE)
    joined = [group for layer in model.model.layers for group in _joined(layer)]
    small = sum(module.weight.nbytes for group in joined for module in group) <= allowed
    return plain and one_dtype and one_device and small


def _linear(layer: Any) -> list[Any]:
    read, gate_up = _joined(layer)
    return [*read, *gate_up, layer.self_attn.o_proj, layer.mlp.down_proj]


def _joined(layer: Any) -> tuple[list[Any], list[Any]]:
    """Return what becomes one product each: behind the layer's first norm, and its second."""
    attention, mlp = layer.self_attn, layer.mlp
    return [attention.q_proj, attention.k_proj, attention.v_proj], [mlp.gate_proj, mlp.up_proj]


class FusedLayers:
    """One decoding step of all layers, from a model that `supports` accepts.

    Args:
        model: its weights are copied here as they are now.
        positions: rotations are computed up to this position.
    """

    def __init__(self, model: Any, positions: int) -> None:
        self.model = model
        self.layers = [_Layer(layer) for layer in model.model.layers]
        position_1P = torch.arange(positions, device=model.device)[None]
        embedding = model.model.embed_tokens.weight
        cos_1PD, sin_1PD = model.model.rotary_emb(embedding, position_ids=position_1P)
        # Half of a rotated pair is subtracted: its sine has the sign.
        sign_D = torch.ones_like(sin_1PD[0, 0])
        sign_D[: len(sign_D) // 2] = -1
        self.cos_PD, self.sin_PD = cos_1PD[0], sin_1PD[0] * sign_D

    def logits(
        self, cache: SharedCache, token_A: torch.Tensor, position_A: torch.Tensor
    ) -> torch.Tensor:
        """Store the keys and values of one token a row; return the logits (A, V) behind it."""
        x_AC = self.model.model.embed_tokens(token_A[:, None])[:, 0]
        cos_A1D = self.cos_PD.index_select(0, position_A)[:, None]
        sin_A1D = self.sin_PD.index_select(0, position_A)[:, None]
        for layer, shared in zip(self.layers, cache.shared, strict=True):
            layer.step(x_AC, cos_A1D, sin_A1D, shared)
        logits_AV: torch.Tensor = self.model.lm_head(self.model.model.norm(x_AC))
        return logits_AV


class _Layer:
    """One layer's joined weights."""

    def __init__(self, layer: Any) -> None:
        attention = layer.self_attn
        self.head_dim: int = attention.head_dim
        self.scaling: float = attention.scaling
        self.heads = attention.q_proj.out_features // self.head_dim
        self.key_heads = attention.k_proj.out_features // self.head_dim
        read, gate_up = _joined(layer)
        self.read = _Joined(read, layer.input_layernorm)
        self.head_norms: tuple[_Norm, torch.Tensor] | None = None
        if hasattr(attention, "q_norm"):
            q_norm, k_norm = (
                _Norm(norm, self.head_dim) for norm in (attention.q_norm, attention.k_norm)
            )
            gains = (q_norm.gain, self.heads), (k_norm.gain, self.key_heads)
            each = torch.cat([gain.expand(heads, -1) for gain, heads in gains])
            self.head_norms = q_norm, each
        self.write = attention.o_proj
        self.gate_up = _Joined(gate_up, layer.post_attention_layernorm)
        self.down = layer.mlp.down_proj

    def step(
        self,
        x_AC: torch.Tensor,
        cos_A1D: torch.Tensor,
        sin_A1D: torch.Tensor,
        shared: SharedLayer,
    ) -> None:
        """Add what this layer adds to `x`, in place."""
        H, K, D = self.heads, self.key_heads, self.head_dim
        qkv = self.read(x_AC).view(-1, H + 2 * K, D)
        qk = qkv[:, : H + K]
        if self.head_norms is not None:
            norm, weight = self.head_norms
            qk = norm(qk).mul_(weight)
        turned = qk.roll(D // 2, -1)
        qk.mul_(cos_A1D).addcmul_(turned, sin_A1D)
        shared.store(qk[:, H:, None], qkv[:, H + K :, None])
        mixed = shared.decode(qk[:, :H, None], self.scaling)
        _add(x_AC, mixed.flatten(1), self.write)

        gate_up = self.gate_up(x_AC)
        gate, up = gate_up.chunk(2, dim=-1)
        _add(x_AC, nn.functional.silu(gate).mul_(up), self.down)


class _Norm:
    """Root-mean-square norm with its gain left out: what is behind it multiplies with `gain`."""

    def __init__(self, norm: Any, width: int) -> None:
        # x / sqrt(mean(x^2) + e) is sqrt(width) x / hypot(|x|, sqrt(width e)).
        least = math.sqrt(width * norm.variance_epsilon)
        self.least = torch.full((), least, device=norm.weight.device)
        self.gain = norm.weight * math.sqrt(width)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return `x` over its length, which is taken in float32 or better, as the models do."""
        exact = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
        normed: torch.Tensor = x / length.hypot_(self.least)
        return normed.to(x.dtype)


class _Joined:
    """Several projections of one normed input as one product."""

    def __init__(self, projections: list[Any], norm: Any) -> None:
        weight = torch.cat([projection.weight for projection in projections])
        self.norm = _Norm(norm, weight.shape[1])
        self.weight = (weight * self.norm.gain).t()
        self.bias: torch.Tensor | None = None
        if projections[0].bias is not None:
            self.bias = torch.cat([projection.bias for projection in projections])

    def __call__(self, x_AC: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x_AC)
        if self.bias is None:
            return torch.mm(normed, self.weight)
        return torch.addmm(self.bias, normed, self.weight)


def _add(x_AC: torch.Tensor, more: torch.Tensor, projection: Any) -> None:
    x_AC.addmm_(more, projection.weight.t())
    if projection.bias is not None:
        x_AC += projection.bias
