"""The kernel for texts of unlike lengths, by a stand-in that does what torch says of it."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch.nn import functional

from iterative_grpo.logps import varlen
from tests.iterative_grpo.logps.making import FAMILIES, batch, decoder, distance, gradient, oracle
from tests.iterative_grpo.logps.test_paths import compute, weighted
from tests.iterative_grpo.logps.test_rectangles import spans_of

Kernel = Callable[..., torch.Tensor]


def alike(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """Attend text by text. Shapes (T, H, D); as in torch 2.11, all heads have their own keys."""
    assert (cu_seq_q.dtype, cu_seq_k.dtype) == (torch.int32, torch.int32)
    assert query.size(1) == key.size(1) == value.size(1)
    assert window_size == (-1, 0)
    of_queries, of_keys = (list(itertools.pairwise(s.tolist())) for s in (cu_seq_q, cu_seq_k))
    assert max(b - a for a, b in of_queries) == max_q
    assert max(b - a for a, b in of_keys) == max_k
    texts = []
    for (q0, q1), (k0, k1) in zip(of_queries, of_keys, strict=True):
        seen = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).tril((k1 - k0) - (q1 - q0))
        q, k, v = (x.transpose(0, 1) for x in (query[q0:q1], key[k0:k1], value[k0:k1]))
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale)
        texts.append(out.transpose(0, 1))
    return torch.cat(texts)


def grouped(*args: Any, enable_gqa: bool = False, **options: Any) -> torch.Tensor:
    """As `alike`, from torch 2.12 on: heads may share keys."""
    query, key, value, *rest = args
    shared = query.size(1) // key.size(1)
    assert enable_gqa == (shared > 1)
    return alike(query, *(x.repeat_interleave(shared, 1) for x in (key, value)), *rest, **options)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kernel | None], list[int]]:
    """Let this kernel be torch's, on the CPU and in every precision; its calls are counted."""

    def install(kernel: Kernel | None) -> list[int]:
        calls: list[int] = []

        def counted(*args: Any, **options: Any) -> torch.Tensor:
            assert kernel is not None
            calls.append(1)
            return kernel(*args, **options)

        found = None if kernel is None else functools.wraps(kernel)(counted)
        monkeypatch.setattr(varlen, "kernel", lambda: found)
        varlen._agrees.cache_clear()
        return calls

    monkeypatch.setattr(varlen, "DEVICES", ("cpu",))
    monkeypatch.setattr(varlen, "DTYPES", (torch.float64, torch.float32, torch.bfloat16))
    return install


@pytest.mark.parametrize("kernel", [alike, grouped])
@pytest.mark.parametrize("family", FAMILIES)
def test_groups_score_and_differentiate_as_single_rows(
    family: str, kernel: Kernel, use: Any, caplog: pytest.LogCaptureFixture
) -> None:
    calls = use(kernel)
    model, rows = decoder(family), batch(group=8)
    found, expected = compute(model, rows), oracle(model, rows)
    assert not caplog.records
    # The check of the kernel, three passes of two layers that check the path, and the path itself.
    assert len(calls) == 1 + 3 * 2 + 2
    assert distance(found[0], expected[0]) < 1e-12
    assert distance(gradient(model, weighted(found)), gradient(model, weighted(expected))) < 1e-10


def test_autocast_decides_what_it_computes_in(use: Any) -> None:
    seen: list[torch.dtype] = []

    @functools.wraps(alike)
    def kernel(query: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        seen.append(query.dtype)
        return alike(query, *args, **options)

    use(kernel)
    model, rows = decoder("llama", torch.float32, spread=0.1), batch()
    with torch.autocast("cpu", torch.bfloat16):
        compute(model, rows)
    assert set(seen) == {torch.bfloat16}


def wrong(*args: Any, **options: Any) -> torch.Tensor:
    """Aligned at the starts of queries and keys, as some kernels are."""
    query, key, value, starts = args[:4]
    longest = int(starts.diff().max())
    return alike(
        query, key[: len(query)], value[: len(query)], starts, starts, longest, longest, **options
    )


class NoGradient(torch.autograd.Function):
    """A kernel with a backward pass that gives no numbers."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor) -> torch.Tensor:
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return torch.full_like(gradients[0], float("nan"))


@functools.wraps(alike)
def without_gradient(*args: Any, **options: Any) -> torch.Tensor:
    return NoGradient.apply(alike(*args, **options))  # type: ignore[no-any-return, no-untyped-call]


@functools.wraps(alike)
def unscaled(*args: Any, scale: float | None = None, **options: Any) -> torch.Tensor:
    return alike(*args, **options)


@functools.wraps(alike)
def in_one_block(*args: Any, **options: Any) -> torch.Tensor:
    """As one that goes wrong behind its first block of keys."""
    most_keys = args[6]
    return alike(*args, **options) * (float("nan") if most_keys > 128 else 1.0)


def refusing(*args: Any, scale: float | None, window_size: tuple[int, int]) -> torch.Tensor:
    raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nException raised from")


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (wrong, "it is off by"),
        (without_gradient, "it is off by nan"),
        (unscaled, "it is off by"),
        (in_one_block, "it is off by nan"),
        (refusing, "only supports Ampere GPUs or newer"),
    ],
)
def test_a_kernel_that_is_not_right_is_not_used(
    kernel: Kernel, reason: str, use: Any, caplog: pytest.LogCaptureFixture
) -> None:
    calls = use(kernel)
    model, rows = decoder("llama"), batch(group=8)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = compute(model, rows)
    assert distance(found[0], oracle(model, rows)[0]) < 1e-12
    (record,) = caplog.records
    assert reason in record.message
    assert "\n" not in record.message
    assert len(calls) == 1


def test_what_ends_a_gpu_is_not_taken_for_a_refusal(
    use: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(RuntimeError):
        pass

    @functools.wraps(alike)
    def ends(*args: Any, **options: Any) -> torch.Tensor:
        raise Ended("an illegal memory access was encountered")

    monkeypatch.setattr(varlen, "_FATAL", (Ended,))
    use(ends)
    with pytest.raises(Ended):
        varlen.fits(decoder("llama"), torch.device("cpu"))


def test_it_is_tried_where_nothing_has_a_gradient(use: Any) -> None:
    use(alike)
    with torch.inference_mode():
        assert varlen.fits(decoder("llama"), torch.device("cpu"))


@pytest.mark.parametrize("of_values", [{"v_head_dim": 16}, {"kv_lora_rank": 8}])
def test_heads_of_other_sizes_than_their_configuration_says(
    of_values: dict[str, int], use: Any
) -> None:
    calls = use(alike)
    model = decoder("llama")
    for name, size in of_values.items():
        setattr(model.config, name, size)
    assert not varlen.fits(model, torch.device("cpu"))
    assert not calls


def of_torch_2_10(
    query: Any, key: Any, value: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int,
    is_causal: bool = False, return_aux: Any = None,
) -> torch.Tensor:  # fmt: skip
    raise NotImplementedError


def test_a_kernel_that_is_called_otherwise_is_none() -> None:
    assert varlen.known(alike)
    assert not varlen.known(of_torch_2_10)


def test_without_a_kernel_nothing_is_said(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    use(None)
    model, rows = decoder("llama"), batch()
    assert distance(compute(model, rows)[0], oracle(model, rows)[0]) < 1e-12
    assert not caplog.records


def test_it_is_for_gpus_and_for_precisions_that_it_knows() -> None:
    model = decoder("llama", torch.float32)
    assert not varlen.fits(model, torch.device("cpu"))
    if varlen.kernel() is not None:
        assert not varlen.fits(model, torch.device("cuda"))


def test_spans_as_texts() -> None:
    made = varlen.texts(spans_of([(2, [3, 0, 1]), (1, [])], None), torch.device("cpu"))
    assert (made.query_starts.dtype, made.key_starts.dtype) == (torch.int32, torch.int32)
    assert made.keys.tolist() == [0, 1, 0, 1, 2, 3, 4, 0, 1, 5, 6]
    assert made.query_starts.tolist() == [0, 2, 5, 6, 7]
    assert made.key_starts.tolist() == [0, 2, 7, 10, 11]
    assert (made.most_queries, made.most_keys) == (3, 5)


@pytest.mark.skipif(
    Version(torch.__version__) < Version("2.12"), reason="torch 2.12 documents the kernel as it is"
)
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_torchs_own_kernel_takes_what_it_is_given(
    scaling: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shapes and types alone: it computes on GPUs, and has no autocast for tensors without values.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    meta = torch.device("meta")
    made = varlen.texts(spans_of([(40, [70, 9]), (3, [1])], None), torch.device("cpu"))
    far = replace(
        made,
        keys=made.keys.to(meta),
        query_starts=made.query_starts.to(meta),
        key_starts=made.key_starts.to(meta),
    )
    query, key, value = (
        torch.empty(1, heads, 123, 64, dtype=torch.bfloat16, device=meta, requires_grad=True)
        for heads in (4, 2, 2)
    )
    output = varlen.attend(far, query, key, value, scaling)
    assert (output.shape, output.dtype) == (query.shape, torch.bfloat16)
    output.sum().backward()
    for x in (query, key, value):
        assert x.grad is not None
        assert x.grad.shape == x.shape
