"""What is computed in, and weights that are in another precision for a while."""

from __future__ import annotations

import pytest
import torch

from iterative_grpo.precision import cast, computed_in, weights_in
from tests.iterative_grpo.logps.making import decoder

CPU = torch.device("cpu")


def test_autocast_decides_where_it_is_on() -> None:
    assert computed_in(CPU, torch.float64) is torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        found = computed_in(CPU, torch.float32)
        assert found is torch.bfloat16
        assert found is (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        with torch.autocast("cpu", enabled=False):
            assert computed_in(CPU, torch.float32) is torch.float32


def test_weights_are_cast_and_positions_are_not() -> None:
    model = decoder("llama", torch.float32)
    model.register_parameter("count", torch.nn.Parameter(torch.tensor([3]), requires_grad=False))
    exact = model.model.rotary_emb.inv_freq.clone()
    assert not torch.equal(exact, exact.bfloat16())
    cast(model, None)
    assert model.lm_head.weight.dtype is torch.float32
    cast(model, torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16, torch.int64}
    assert torch.equal(model.model.rotary_emb.inv_freq, exact)


def test_copies_stand_in_and_tied_weights_stay_tied() -> None:
    model = decoder("llama", torch.float32)
    model.lm_head.weight = model.model.embed_tokens.weight
    own = dict(model.named_parameters())
    exact = {name: weight.clone() for name, weight in own.items()}
    with weights_in(model, torch.bfloat16):
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
        assert all(torch.equal(weight, exact[name]) for name, weight in own.items())
    assert dict(model.named_parameters()) == own
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_an_optimizers_weights_come_back_whatever_happens() -> None:
    model = torch.nn.Linear(3, 2).requires_grad_(False)
    before = {name: (id(p), p.data_ptr()) for name, p in model.named_parameters()}
    for dtype in (torch.bfloat16, None):
        with weights_in(model, dtype):
            assert model.weight.dtype is (dtype or torch.float32)
        with pytest.raises(ZeroDivisionError), weights_in(model, dtype):
            raise ZeroDivisionError
        assert model.bias.dtype is torch.float32
        after = {name: (id(p), p.data_ptr()) for name, p in model.named_parameters()}
        assert after == before
