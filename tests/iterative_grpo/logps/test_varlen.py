"""The kernel for texts of unlike lengths, by a stand-in that does what torch says of it."""

from __future__ import annotations

import functools
import itertools
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch.nn import functional
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

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


def watched(kernel: Kernel, seen: list[Any], of: Callable[..., Any]) -> Kernel:
    """Note something of queries, keys and values at each call."""

    @functools.wraps(kernel)
    def noting(*args: Any, **options: Any) -> torch.Tensor:
        seen.append(of(*args[:3]))
        return kernel(*args, **options)

    return noting


def test_autocast_decides_what_it_computes_in(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []
    use(watched(alike, seen, lambda *inputs: tuple(x.dtype for x in inputs)))
    model, rows = decoder("llama", torch.float32, spread=0.1), batch()
    made = varlen.texts(spans_of([(2, [3])], None), torch.device("cpu"))
    with torch.autocast("cpu", torch.bfloat16):
        compute(model, rows)
        varlen.attend(made, *torch.randn(3, 1, 2, 5, 8), None)
    assert set(seen) == {(torch.bfloat16,) * 3}
    assert not caplog.records


def wrong(*args: Any, **options: Any) -> torch.Tensor:
    """Aligned at the starts of queries and keys, as some kernels are."""
    query, key, value, starts = args[:4]
    longest = int(starts.diff().max())
    return alike(
        query, key[: len(query)], value[: len(query)], starts, starts, longest, longest, **options
    )


class OtherGradient(torch.autograd.Function):
    """A kernel whose backward pass gives one number, whatever it is given."""

    @staticmethod
    def forward(ctx: Any, output: torch.Tensor, number: float) -> torch.Tensor:
        ctx.number = number
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.full_like(gradients[0], ctx.number), None


def with_gradient(number: float) -> Kernel:
    @functools.wraps(alike)
    def kernel(*args: Any, **options: Any) -> torch.Tensor:
        return OtherGradient.apply(alike(*args, **options), number)  # type: ignore[no-any-return, no-untyped-call]

    return kernel


@functools.wraps(alike)
def unscaled(*args: Any, scale: float | None = None, **options: Any) -> torch.Tensor:
    return alike(*args, **options)


@functools.wraps(alike)
def shifted(*args: Any, **options: Any) -> torch.Tensor:
    """As one that is wrong where no gradient tells it."""
    return alike(*args, **options) + 1


@functools.wraps(alike)
def in_one_block(*args: Any, **options: Any) -> torch.Tensor:
    """As one that goes wrong behind its first block of keys."""
    most_keys = args[6]
    return alike(*args, **options) * (float("nan") if most_keys > 128 else 1.0)


def failing_at(of: Callable[[int, int], bool]) -> Kernel:
    """As one that goes wrong for texts of some numbers of queries and keys."""

    @functools.wraps(alike)
    def kernel(*args: Any, **options: Any) -> torch.Tensor:
        queries, keys = args[3].diff(), args[4].diff()
        right = [not of(*sizes) for sizes in zip(queries, keys, strict=True)]
        right_T11 = torch.tensor(right).repeat_interleave(queries)[:, None, None]
        return alike(*args, **options) * right_T11

    return kernel


def refusing(error: Exception) -> Kernel:
    @functools.wraps(alike)
    def kernel(*args: Any, **options: Any) -> torch.Tensor:
        raise error

    return kernel


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (wrong, "it is off by"),
        (with_gradient(float("nan")), "it is off by nan"),
        (with_gradient(1.0), "it is off by"),
        (unscaled, "it is off by"),
        (shifted, "it is off by"),
        (in_one_block, "it is off by nan"),
        (failing_at(lambda queries, keys: queries == 1), "it is off by"),
        (failing_at(lambda queries, keys: keys > 64 * queries), "it is off by"),
        (refusing(RuntimeError("only for Ampere GPUs.\nException raised from")), "Ampere"),
        (refusing(TypeError("an unexpected argument")), "TypeError: an unexpected argument"),
        (refusing(ValueError("heads of 8 numbers")), "ValueError: heads of 8 numbers"),
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


def test_what_it_is_tried_on_is_the_same_each_time(use: Any) -> None:
    use(alike)
    model, before = decoder("llama"), torch.get_rng_state()
    assert varlen.fits(model, torch.device("cpu"))
    assert torch.get_rng_state().equal(before)


def test_half_precision_is_compared_with_float32(use: Any) -> None:
    @functools.wraps(alike)
    def rounded_once(*args: Any, **options: Any) -> torch.Tensor:
        exact = alike(*(x.float() for x in args[:3]), *args[3:], **options)
        return exact.to(args[0].dtype)

    use(rounded_once)
    half = torch.device("cpu"), torch.bfloat16, 4, 2, 8
    off = varlen._off(*half)
    assert 0 < off[0] < torch.finfo(torch.bfloat16).eps / 4
    with torch.autocast("cpu", torch.bfloat16):
        assert varlen._off(*half) == off


@pytest.mark.parametrize(
    ("family", "told", "heads"),
    [
        ("llama", {}, (4, 2, 8)),
        ("llama", {"head_dim": 16}, (4, 2, 16)),
        ("neox", {}, (4, 4, 8)),
    ],
)
def test_it_is_tried_on_heads_like_the_models(
    family: str, told: dict[str, int], heads: tuple[int, ...], use: Any
) -> None:
    seen: list[Any] = []
    use(watched(grouped, seen, lambda q, k, v: (q.size(1), k.size(1), k.size(2))))
    model = decoder(family)
    for name, number in told.items():
        setattr(model.config, name, number)
    assert varlen.fits(model, torch.device("cpu"))
    assert seen == [heads]


def test_the_text_part_of_a_model_that_sees_says_its_heads(use: Any) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text = LlamaConfig(**sizes, num_attention_heads=2, vocab_size=30, pad_token_id=0)
    vision = CLIPVisionConfig(**sizes, num_attention_heads=4, image_size=8, patch_size=4)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=1)
    )
    calls = use(alike)
    assert varlen.fits(model, torch.device("cpu"))
    assert len(calls) == 1


@pytest.mark.parametrize(
    "heads", [{"num_attention_heads": [2, 4]}, {"num_key_value_heads": [1, 2]}]
)
def test_layers_with_unlike_numbers_of_heads(heads: dict[str, list[int]], use: Any) -> None:
    calls = use(alike)
    model = decoder("llama")
    for name, numbers in heads.items():
        # Configurations of models from elsewhere check no types.
        object.__setattr__(model.config, name, numbers)
    assert not varlen.fits(model, torch.device("cpu"))
    assert not calls


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


def without_a_scale(*args: Any, window_size: Any = None) -> torch.Tensor:
    raise NotImplementedError


def without_a_window(*args: Any, scale: float | None = None) -> torch.Tensor:
    raise NotImplementedError


@pytest.mark.parametrize("kernel", [of_torch_2_10, without_a_scale, without_a_window])
def test_a_kernel_that_is_called_otherwise_is_none(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert varlen.known(alike)
    assert not varlen.known(kernel)
    torchs = ModuleType("varlen")
    torchs.varlen_attn = kernel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", torchs)
    assert varlen.kernel.__wrapped__() is None
    torchs.varlen_attn = alike  # type: ignore[attr-defined]
    assert varlen.kernel.__wrapped__() is alike


def test_a_torch_without_a_kernel_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", None)
    assert varlen.kernel.__wrapped__() is None


def test_without_a_kernel_nothing_is_said(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    use(None)
    model, rows = decoder("llama"), batch()
    assert distance(compute(model, rows)[0], oracle(model, rows)[0]) < 1e-12
    assert not caplog.records


def test_it_is_for_gpus_and_for_precisions_that_it_knows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(varlen, "kernel", lambda: alike)
    assert not varlen.fits(decoder("llama", torch.bfloat16), torch.device("cpu"))
    assert not varlen.fits(decoder("llama", torch.float32), torch.device("cuda"))
    assert not caplog.records  # it was not tried


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
