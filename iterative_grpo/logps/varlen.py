"""Attention over a packed row by torch's FlashAttention for texts of unlike lengths, on a GPU.

To the kernel a span is a text: its prompt and itself are the keys, its own tokens the queries, the
last of the keys. Causal attention is aligned at the ends of both, which is what a span sees. So no
mask exists, nothing is padded, and all spans are one launch
(https://docs.pytorch.org/docs/stable/nn.attention.varlen.html). Its backward pass takes scratch in
float32 for each query, with up to 128 more a span.

Dimensions: N packed tokens, S keys of all spans, H heads, K key heads, D head size.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from iterative_grpo.logps import rectangles
from iterative_grpo.logps.rectangles import Span
from iterative_grpo.precision import computed_in
from iterative_grpo.transfer import bring

DTYPES: tuple[torch.dtype, ...] = (torch.bfloat16, torch.float16)
"""What the kernel computes in; empty to do without it."""

DEVICES = ("cuda",)

Kernel = Callable[..., Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Texts:
    """Spans as the kernel takes them.

    `keys` (S,) are the packed places of each span's prompt and of its own tokens. The queries of
    the i-th span are the packed places from `query_starts[i]` up to `query_starts[i + 1]`, and its
    keys those of `keys` from `key_starts[i]` on (spans + 1, int32).
    """

    keys: torch.Tensor
    query_starts: torch.Tensor
    key_starts: torch.Tensor
    most_queries: int
    most_keys: int


def texts(spans: Sequence[Span], device: torch.device) -> Texts:
    """Return spans that follow each other, are asked for whole, and cover all packed tokens."""
    spans = [span for span in spans if span.length]
    keys = [
        np.arange(start, start + length)
        for span in spans
        for start, length in ((span.prompt_start, span.prompt), (span.start, span.length))
    ]
    queries_of = [span.length for span in spans]
    keys_of = [span.prompt + span.length for span in spans]
    places, query_starts, key_starts = bring(
        device, np.concatenate(keys), *(np.cumsum([0, *each]) for each in (queries_of, keys_of))
    )
    return Texts(places, query_starts.int(), key_starts.int(), max(queries_of), max(keys_of))


def attend(
    texts: Texts,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """Return (1, H, N, D) of queries (1, H, N, D) to keys and values (1, K, N, D)."""
    run = kernel()
    if run is None:
        raise RuntimeError("this torch has no attention for texts of unlike lengths")
    device = query.device.type
    if torch.is_autocast_enabled(device):
        # As torch's other attention does there; norms of queries and keys are in float32.
        query, key, value = (x.to(torch.get_autocast_dtype(device)) for x in (query, key, value))
    query_NHD, key_NKD, value_NKD = (x[0].transpose(0, 1) for x in (query, key, value))
    key_SKD, value_SKD = (x.index_select(0, texts.keys) for x in (key_NKD, value_NKD))
    options: dict[str, Any] = {}
    shared = query_NHD.size(1) // key_SKD.size(1)
    if "enable_gqa" in _options(run):
        options["enable_gqa"] = shared > 1
    elif shared > 1:
        key_SKD, value_SKD = (x.repeat_interleave(shared, 1) for x in (key_SKD, value_SKD))
    output_NHD: torch.Tensor = run(
        query_NHD,
        key_SKD,
        value_SKD,
        texts.query_starts,
        texts.key_starts,
        texts.most_queries,
        texts.most_keys,
        scale=scaling,
        window_size=(-1, 0),
        **options,
    )
    return output_NHD.transpose(0, 1)[None]


@functools.cache
def kernel() -> Kernel | None:
    """Return torch's kernel; None for a torch without it, or with one that is called otherwise."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if known(varlen_attn) else None


def known(run: Kernel) -> bool:
    """Whether a kernel takes a scaling and a window; that of torch 2.10 does not."""
    return _options(run) >= {"scale", "window_size"}


@functools.cache
def _options(run: Kernel) -> frozenset[str]:
    return frozenset(inspect.signature(run).parameters)


def fits(model: Any, device: torch.device) -> bool:
    """Whether the kernel can attend for a transformers model, as it computes now.

    The first time for such heads it has to agree with torch's other attention, gradients too; why
    it does not is said once.
    """
    if device.type not in DEVICES or kernel() is None:
        return False
    dtype = computed_in(device, model.dtype)
    config = model.config.get_text_config()
    # Of latent attention (DeepSeek's) the heads' sizes are none of these, and differ from values'.
    if dtype not in DTYPES or any(hasattr(config, name) for name in ("kv_lora_rank", "v_head_dim")):
        return False
    heads = getattr(config, "num_attention_heads", None)
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    if not (isinstance(heads, int) and isinstance(key_heads, int)):
        return False
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return _agrees(device, dtype, heads, key_heads, size)


_SPANS = (
    Span(0, 300),
    Span(300, 400, 0, 300),
    Span(700, 3, 0, 300),
    Span(703, 5),
    Span(708, 1, 703, 5),
)
"""What the kernel is tried on: longer than its blocks, short ones, and one token alone."""

# Behind these nothing can be computed any more.
_FATAL = (torch.OutOfMemoryError, getattr(torch, "AcceleratorError", torch.OutOfMemoryError))


@functools.cache
def _agrees(device: torch.device, dtype: torch.dtype, H: int, K: int, D: int) -> bool:
    try:
        off = _off(device, dtype, H, K, D)
        allowed = max(4 * torch.finfo(dtype).eps, 1e-5)
        # A NaN is not below what is allowed, either.
        reason = next((f"it is off by {x:.2g}" for x in off if not x <= allowed), None)
    except _FATAL:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    if reason is not None:
        logger.warning(
            f"torch's attention for texts of unlike lengths is not used for {H} heads of {D} "
            f"numbers in {dtype}: {reason}"
        )
    return reason is None


def _off(device: torch.device, dtype: torch.dtype, H: int, K: int, D: int) -> list[float]:
    """Return how far output and gradients are off those of other attention, in float32."""
    found: list[list[torch.Tensor]] = []
    # Reward models are read where nothing can have a gradient.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        generator = torch.Generator().manual_seed(0)
        N = sum(span.length for span in _SPANS)
        drawn = [torch.randn(1, h, N, D, generator=generator).to(dtype) for h in (H, K, K, H)]
        precise = torch.promote_types(dtype, torch.float32)
        for way, its in (
            (functools.partial(rectangles.attend, rectangles.layout(_SPANS, device)), precise),
            (functools.partial(attend, texts(_SPANS, device)), dtype),
        ):
            query, key, value, weights = (x.to(device, its, copy=True) for x in drawn)
            inputs = [x.requires_grad_() for x in (query, key, value)]
            output = way(query, key, value, 0.3)
            gradients = torch.autograd.grad((output * weights).sum(), inputs)
            found.append([x.detach().to(precise) for x in (output, *gradients)])
    expected, ours = found
    return [float((x - y).norm() / x.norm()) for x, y in zip(expected, ours, strict=True)]
