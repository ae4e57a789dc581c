"""The GPU that is not there refuses what a GPU refuses, and counts what it is asked."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as attention

from benchmarks.pretend_gpu import DEVICE, OnGPU, attached, on_gpu


def test_values_are_those_of_the_cpu_and_devices_do_not_meet() -> None:
    layer = torch.nn.Linear(3, 2)
    x = torch.randn(4, 3)
    expected = layer(x)
    with attached() as asked:
        layer = on_gpu(layer)
        assert layer.weight.device == DEVICE
        found = layer(x.to(DEVICE))
        found.sum().backward()
        assert asked.waits == 3  # weight, bias and x are brought there
        asked.clear()
        found.mul(2).t().add_(1)
        assert (asked.launches, asked.waits) == (2, 0)
        with pytest.raises(RuntimeError, match="on the CPU"):
            layer(x)
        with pytest.raises(RuntimeError, match="indexed by one on the GPU"):
            x[torch.tensor([1], device=DEVICE)]
        assert found.cpu().equal(expected)
        assert found.tolist() == expected.tolist()
        with pytest.raises(TypeError, match="numpy"):
            found.detach().numpy()
        assert isinstance(layer.weight.grad, OnGPU)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_one_launch_with_the_gradients_of_the_cpu(causal: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    near = [torch.randn(2, 4, 5, 8, generator=generator).requires_grad_() for _ in range(3)]
    mask = None if causal else torch.rand(5, 5, generator=generator) > 0.3
    expected = attention(*near, attn_mask=mask, is_causal=causal)
    expected.square().sum().backward()
    with attached() as asked:
        far = [x.detach().to(DEVICE).requires_grad_() for x in near]
        seen = None if mask is None else mask.to(DEVICE)
        asked.clear()
        found = torch.nn.functional.scaled_dot_product_attention(
            *far, attn_mask=seen, is_causal=causal
        )
        assert asked.launches == 1
        found.square().sum().backward()
        assert found.cpu().equal(expected)
        for there, here in zip(far, near, strict=True):
            assert there.grad is not None
            assert here.grad is not None
            assert there.grad.cpu().equal(here.grad)
        with pytest.raises(RuntimeError, match="on the CPU"):
            torch.nn.functional.scaled_dot_product_attention(far[0], near[1], far[2])


@pytest.mark.parametrize(
    "waiting",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.cpu(),
        lambda x: x[x > 1],
        lambda x: (x > 1).nonzero(),
        lambda x: x + torch.tensor([1.0, 2.0], device=DEVICE),
    ],
)
def test_python_waits_for_what_it_looks_at_and_for_what_it_brings(waiting: object) -> None:
    assert callable(waiting)
    with attached() as asked:
        x = torch.ones(2, device=DEVICE)
        x.add_(1).view(1, 2).t()
        assert asked.waits == 0
        waiting(x)
        assert asked.waits == 1
        with (
            pytest.raises(RuntimeError, match="the capture ends broken") as ended,
            torch.cuda.graph(torch.cuda.CUDAGraph()),
        ):
            waiting(x)
        assert "while a graph is captured" in str(ended.value.__context__)


def test_python_goes_on_while_pinned_memory_is_brought_there() -> None:
    with attached() as asked:
        near = torch.arange(3)
        assert near.pin_memory().to(DEVICE, non_blocking=True).near.tolist() == [0, 1, 2]
        assert (asked.launches, asked.waits) == (1, 0)
        near.to(DEVICE, non_blocking=True)
        near.pin_memory().to(DEVICE)
        assert (asked.launches, asked.waits) == (3, 2)


def test_a_graph_runs_when_it_is_replayed_with_what_lies_in_its_memory_then() -> None:
    with attached() as asked:
        row = torch.zeros(1, dtype=torch.long, device=DEVICE)
        x, table = torch.ones(2, device=DEVICE), torch.zeros(3, 2, device=DEVICE)
        number = torch.tensor(10.0)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            made = x * number
            table.index_copy_(0, row, made[None])
        assert table.tolist() == [[0, 0]] * 3  # nothing has run
        assert made.isnan().all()
        asked.clear()
        number.fill_(7)  # it was captured as it was
        graph.replay()
        x.fill_(3)
        row.fill_(2)
        graph.replay()
        assert (asked.launches, asked.replays) == (4, 2)
        assert table.tolist() == [[10, 10], [0, 0], [30, 30]]
        assert made.tolist() == [30, 30]
