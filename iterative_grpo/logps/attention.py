"""Attention over a packed row: completions see their prompt and themselves.

Keys and values of a prompt are gathered for each completion that follows it, whose gradients all
flow back into the one prompt: for one kernel where it can be had (`varlen.py`), else in rectangles.

Dimensions: N packed tokens, M of them asked for, H heads, K key heads, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from iterative_grpo.attention import Attend, attend
from iterative_grpo.logps import varlen
from iterative_grpo.logps.rectangles import Layout, Span, layout


def packed(spans: Sequence[Span], model: Any, device: torch.device) -> Attend:
    """Return how a transformers model attends over a packed row of these spans, asked for whole."""
    if varlen.fits(model, device):
        return partial(varlen.attend, varlen.texts(spans, device))
    return partial(attend_rectangles, layout(spans, device))


def attend_rectangles(
    layout: Layout,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
) -> torch.Tensor:
    """Return (1, H, M, D) of queries (1, H, M, D) to keys and values (1, K, N, D)."""
    query_MHD, key_NKD, value_NKD = (x[0].transpose(0, 1) for x in (query, key, value))
    queries = query_MHD.index_select(0, layout.queries).split(
        [each.rows * each.columns for each in layout.rectangles]
    )
    keys, values = (
        x.index_select(0, layout.keys).split([each.rows * each.seen for each in layout.rectangles])
        for x in (key_NKD, value_NKD)
    )
    outputs = []
    for rectangle, *parts in zip(layout.rectangles, queries, keys, values, strict=True):
        q, k, v = (x.unflatten(0, (rectangle.rows, -1)).transpose(1, 2) for x in parts)
        outputs.append(attend(q, k, v, rectangle.visible, scaling))
    cells_XHD = torch.cat([output.transpose(1, 2).flatten(0, 1) for output in outputs])
    return cells_XHD.index_select(0, layout.cells).transpose(0, 1)[None]
