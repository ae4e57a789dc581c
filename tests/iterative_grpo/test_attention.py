"""Small attention against torch's kernel, and who computes what."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from benchmarks.pretend_gpu import DEVICE, attached
from iterative_grpo import attention

SHAPE = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def visible_to(kind: str, B: int, T: int, S: int) -> torch.Tensor | None:
    if kind == "causal":
        return None
    seen = torch.ones(T, S, dtype=torch.bool).tril(S - T)
    if kind == "rows":
        seen = seen.expand(B, 1, T, S).clone()
        seen[1:, :, :, 1] = False
    return seen


@pytest.mark.parametrize("kind", ["causal", "one", "rows"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_stores_no_scores_where_heads_share_keys(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    B, T, S = 2, 5, 5 if kind == "causal" else 12
    inputs = [torch.randn(B, n, x, 8).to(dtype) for n, x in ((4, T), (2, S), (2, S))]
    visible = visible_to(kind, B, T, S)
    expected = attention.scaled_dot_product(*inputs, visible)
    with attached() as asked:
        far = [x.to(DEVICE).requires_grad_() for x in inputs]
        found = attention.attend(*far, None if visible is None else visible.to(DEVICE))
        gradients = torch.autograd.grad(found.sum(), far)
        assert asked.launches > 0
        assert asked.stored == 0
    assert [x.shape for x in gradients] == [x.shape for x in inputs]
    torch.testing.assert_close(found.detach().near, expected, atol=2e-2, rtol=0)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (3, 1)])
@pytest.mark.parametrize(
    ("kind", "T", "S"), [("causal", 9, 9), ("one", 5, 12), ("rows", 5, 12), ("rows", 1, 3)]
)
@pytest.mark.parametrize("scaling", [None, 0.7])
def test_small_attention_is_torchs(
    heads: tuple[int, int], kind: str, T: int, S: int, scaling: float | None
) -> None:
    torch.manual_seed(0)
    B, (H, K), D = 3, heads, 6
    inputs = [
        torch.randn(B, n, length, D, dtype=torch.float64, requires_grad=True)
        for n, length in ((H, T), (K, S), (K, S))
    ]
    visible = visible_to(kind, B, T, S)
    found = attention.attend(*inputs, visible, scaling)
    expected = functional.scaled_dot_product_attention(
        *inputs,
        attn_mask=visible,
        is_causal=visible is None,
        scale=scaling,
        enable_gqa=H != K,
    )
    assert "Small" in type(found.grad_fn).__name__
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    weights = torch.randn_like(found)
    gradients, others = (torch.autograd.grad(x, inputs, weights) for x in (found, expected))
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-12, rtol=0)


def test_long_or_low_precision_attention_is_left_to_torch() -> None:
    def made(x: torch.Tensor) -> str:
        x = x.requires_grad_()
        return type(attention.attend(x, x, x, None).grad_fn).__name__

    assert "Small" in made(torch.randn(1, 2, attention.SMALL, 4))
    assert "Small" not in made(torch.randn(1, 2, attention.SMALL + 1, 4))
    assert "Small" not in made(torch.randn(1, 2, 4, 4).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert "Small" not in made(torch.randn(1, 2, 4, 4))


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, s: float | None) -> torch.Tensor:
    return attention.attend(q, k, v, None, s)


def refused(model: Any, length: int = 5) -> str:
    with pytest.raises(attention.UnsupportedModel) as error, attention.attending(model, causal):
        model(torch.zeros(1, length, dtype=torch.long))
    return str(error.value)


def test_more_than_causal_attention_is_refused() -> None:
    dropping = LlamaForCausalLM(LlamaConfig(**SHAPE, attention_dropout=0.1)).train()
    assert "drops" in refused(dropping)
    windowed = MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=4)).eval()
    assert "sliding_window" in refused(windowed)


def test_the_models_own_attention_is_back_afterwards() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()
    ids = torch.arange(8)[None]
    before = model.config._attn_implementation
    with torch.no_grad():
        expected = model(ids).logits
        with attention.attending(model, causal):
            found = model(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert model.config._attn_implementation == before
