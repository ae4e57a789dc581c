"""The native engine on an NVIDIA GPU, its decoding steps replayed as CUDA graphs (`_graphs`)."""

from __future__ import annotations

from typing import Any

from iterative_grpo.engines import native
from iterative_grpo.engines.native import CACHE_GIB
from iterative_grpo.engines.native import check_model as check_model
from iterative_grpo.engines.native import check_options as check_options


def lacking() -> str | None:
    """Return what this machine lacks for the engine, None if nothing."""
    import torch

    if torch.cuda.is_available():
        return None
    return "CUDA graphs need an NVIDIA GPU, and torch sees none here; use the 'native' engine"


def load(
    model: Any,
    tokenizer: Any,
    *,
    dtype: str | None = None,
    cache_gib: float = CACHE_GIB,
    share_prefixes: bool = True,
    fuse_layers: bool = True,
    share_branches: bool = False,
) -> native.Engine:
    """Return the native engine with graphs for a live model; options are those of `native.load`.

    It samples what `native` samples. On a CPU its `generate` raises ValueError. Branches are not
    shared by default: they fork at nearly every token, and each fork ends a graph.
    """
    return native.load(
        model,
        tokenizer,
        dtype=dtype,
        cache_gib=cache_gib,
        share_prefixes=share_prefixes,
        fuse_layers=fuse_layers,
        share_branches=share_branches,
        graphs=True,
    )
