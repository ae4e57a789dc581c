"""The chunked head against logits in full and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from iterative_grpo.logps import head
from tests.iterative_grpo.logps.making import distance


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    # 16 rows a chunk, so that 40 rows need three.
    monkeypatch.setattr(head, "_CHUNK_BYTES", {"cpu": 1})


def full(
    hidden_NH: torch.Tensor, linear: nn.Linear, targets_N: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    scores_NV = (linear(hidden_NH) / temperature).log_softmax(-1)
    picked_N = scores_NV.gather(-1, targets_N[:, None]).squeeze(-1)
    return picked_N, -(scores_NV.exp() * scores_NV).sum(-1)


def inputs(bias: bool) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    hidden_NH = torch.randn(40, 8, dtype=torch.float64, requires_grad=True)
    linear = nn.Linear(8, 30, bias=bias, dtype=torch.float64)
    return hidden_NH, linear, torch.randint(0, 30, (40,))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("used", ["logps", "entropies", "both"])
def test_chunks_give_the_gradients_of_full_logits(bias: bool, used: str) -> None:
    hidden_NH, linear, targets_N = inputs(bias)
    weights = torch.randn(2, 40, dtype=torch.float64)
    weights[0, ::3] = weights[1, ::4] = 0
    parameters = [hidden_NH, *linear.parameters()]
    gradients = []
    for scores in (
        head.score(hidden_NH, linear, targets_N, 0.7, entropy=True),
        full(hidden_NH, linear, targets_N, 0.7),
    ):
        chosen = {"logps": [0], "entropies": [1], "both": [0, 1]}[used]
        loss = torch.stack([(scores[i] * weights[i]).sum() for i in chosen]).sum()
        gradients.append(torch.autograd.grad(loss, parameters))
    for found, expected in zip(*gradients, strict=True):
        assert distance(found, expected) < 1e-13


def test_gradients_are_finite_differences() -> None:
    hidden_NH, linear, targets_N = inputs(bias=False)
    assert torch.autograd.gradcheck(
        lambda h: head.score(h, linear, targets_N[:3], 1.3, entropy=True),
        hidden_NH[:3].detach().requires_grad_(),
    )


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden_NH, linear, targets_N = inputs(bias=False)
    linear.requires_grad_(False)
    logps_N, entropies_N = head.score(hidden_NH, linear, targets_N, 1.0)
    assert entropies_N is None
    logps_N.sum().backward()
    assert linear.weight.grad is None
    assert hidden_NH.grad is not None


@pytest.mark.parametrize("bias", [False, True])
def test_autocast_gives_what_its_precision_gives_forward_and_backward(bias: bool) -> None:
    hidden_NH, linear, targets_N = inputs(bias)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        linear, hidden_NH = linear.to(dtype), hidden_NH.detach().to(dtype).requires_grad_()
        linear.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.float32):
            logps_N = head.score(hidden_NH, linear, targets_N, 0.7)[0]
        logps_N.sum().backward()
        assert logps_N.dtype is torch.float32
        gradients = [hidden_NH.grad, *(each.grad for each in linear.parameters())]
        found.append([logps_N.detach(), *(each.float() for each in gradients)])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_hidden_states_in_float32_meet_a_head_in_bfloat16() -> None:
    hidden_NH, linear, targets_N = inputs(bias=False)
    linear = linear.bfloat16()
    found, expected = (
        head.score(hidden_NH.to(dtype), linear, targets_N, 1.0)[0]
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert torch.equal(found, expected)


def test_chunks_of_low_precision_add_up_without_rounding() -> None:
    linear = nn.Linear(1, 2, bias=False, dtype=torch.bfloat16)
    nn.init.zeros_(linear.weight)
    hidden_NH, targets_N = torch.ones(48, 1).bfloat16(), torch.zeros(48, dtype=torch.long)
    # Half of a row's weight is its gradient: 257 of each chunk, which bfloat16 has not.
    weights_N = torch.tensor(([30.0] * 15 + [64.0]) * 3)
    (head.score(hidden_NH, linear, targets_N, 1.0)[0] * weights_N).sum().backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.flatten().tolist() == [772.0, -772.0]  # nearest to 771


def test_large_logits_stay_finite() -> None:
    hidden_NH, linear, targets_N = inputs(bias=False)
    with torch.no_grad():
        hidden_NH *= 1e4
    found = head.score(hidden_NH, linear, targets_N, 1.0, entropy=True)
    expected = full(hidden_NH, linear, targets_N, 1.0)
    assert distance(found[0], expected[0]) < 1e-13
    assert found[1] is not None
    assert bool(found[1].isfinite().all())
    assert float(found[1].min()) >= -1e-12


def test_full_logits_never_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_NH, linear, targets_N = inputs(bias=False)
    largest: list[int] = []
    product = nn.functional.linear

    def watched(x: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        largest.append(len(x))
        return product(x, *more)

    monkeypatch.setattr(nn.functional, "linear", watched)
    head.score(hidden_NH, linear, targets_N, 1.0)[0].sum().backward()
    assert largest == [16, 16, 8] * 2
