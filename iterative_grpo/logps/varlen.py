"""Attention over a packed row by torch's FlashAttention for texts of unlike lengths, on a GPU.

To the kernel a span is a text: its prompt and itself are the keys, its own tokens the queries, the
last of the keys. Causal attention is aligned at the ends of both, which is what a span sees. So no
mask exists, nothing is padded, and all spans are one launch
(https://docs.pytorch.org/docs/stable/nn.attention.varlen.html).

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

from iterative_grpo.logps.rectangles import Span
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
        np.r_[
            span.prompt_start : span.prompt_start + span.prompt,
            span.start : span.start + span.length,
        ]
        for span in spans
    ]
    queries_of, keys_of = [span.length for span in spans], [len(each) for each in keys]
    query_starts, key_starts = bring(
        device, *(np.cumsum([0, *counts], dtype=np.int32) for counts in (queries_of, keys_of))
    )
    (places,) = bring(device, np.concatenate(keys))
    return Texts(places, query_starts, key_starts, max(queries_of), max(keys_of))


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
    """Return torch's kernel; None for a torch without it, or with the one that took no scaling."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if _options(varlen_attn) >= {"scale", "window_size"} else None


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
    autocast = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type) if autocast else model.dtype
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", None)
    size = getattr(config, "head_dim", None) or config.hidden_size // (heads or 1)
    if dtype not in DTYPES or not heads:
        return False
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    return _agrees(device, dtype, heads, key_heads, size)


@functools.cache
def _agrees(device: torch.device, dtype: torch.dtype, H: int, K: int, D: int) -> bool:
    from iterative_grpo.logps.attention import attend_rectangles
    from iterative_grpo.logps.rectangles import layout

    spans = [
        Span(0, 40),
        Span(40, 70, 0, 40),
        Span(110, 9, 0, 40),
        Span(119, 3),
        Span(122, 1, 119, 3),
    ]
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(1, h, 123, D, generator=generator) for h in (H, K, K, H)]
    ways = {
        "rectangles": functools.partial(attend_rectangles, layout(spans, device)),
        "kernel": functools.partial(attend, texts(spans, device)),
    }
    found: dict[str, list[torch.Tensor]] = {}
    try:
        for name, way in ways.items():
            *inputs, weights = (x.to(device, dtype) for x in drawn)
            with torch.enable_grad(), torch.autocast(device.type, enabled=False):
                output = way(*(x.requires_grad_() for x in inputs), None)
                gradients = torch.autograd.grad((output * weights).sum(), inputs)
            found[name] = [x.detach().float() for x in (output, *gradients)]
        off = max(
            float((ours - theirs).norm() / theirs.norm())
            for ours, theirs in zip(found["kernel"], found["rectangles"], strict=True)
        )
        reason = None if off < max(8 * torch.finfo(dtype).eps, 1e-5) else f"it is off by {off:.2g}"
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    if reason is not None:
        logger.warning(
            f"torch's attention for texts of unlike lengths is not used for {H} heads of {D} "
            f"numbers in {dtype}: {reason}"
        )
    return reason is None
