"""Which packed tokens attend together: spans of them, gathered into rectangles.

A span is a prompt, or a completion that follows one. Spans of similar size make a rectangle, whose
attention is one call; what is gathered to fill it up is seen by nothing.

Dimensions: N packed tokens, M of them asked for; of a rectangle G spans, P tokens of their longest
prompt, C tokens of the longest span, S = P + C, Q queries of the span with the most; H heads, K key
heads, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from iterative_grpo import attention
from iterative_grpo.transfer import bring

# Pairs of tokens whose attention takes about as long as one more call, forward and backward:
# measured on a CPU; on a GPU an estimate, some 20 microseconds of a small model's products.
_WASTED_PAIRS = {"cpu": 2_000}
_GPU_WASTED_PAIRS = 500_000


@dataclass(frozen=True, slots=True)
class Span:
    """`length` tokens from the packed place `start` on, and the prompt that they follow.

    Each sees the prompt, the span's own tokens before it and itself. `asked` are those, counted
    from `start` in rising order, whose attention is asked for; None asks for all.
    """

    start: int
    length: int
    prompt_start: int = 0
    prompt: int = 0
    asked: tuple[int, ...] | None = None

    @property
    def queries(self) -> int:
        """How many tokens are asked for."""
        return self.length if self.asked is None else len(self.asked)


@dataclass(frozen=True, slots=True)
class Rectangle:
    """G rows of Q queries, each row with S keys; `visible` as in `attention.attend`."""

    rows: int
    columns: int
    seen: int
    visible: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Rectangles, the tokens that fill them, and the way back.

    `places` (M,) are the packed places of the tokens asked for, in rising order. `queries` (sum of
    G * Q) say which of these fill the rectangles, and `keys` (sum of G * S) which packed places,
    row after row. The m-th token asked for is query `cells[m]` (M,).
    """

    rectangles: Sequence[Rectangle]
    places: torch.Tensor
    queries: torch.Tensor
    keys: torch.Tensor
    cells: torch.Tensor


def layout(spans: Sequence[Span], device: torch.device) -> Layout:
    """Return the rectangles of these spans, which cover all packed tokens."""
    queries, keys, sizes, tables = [], [], [], []
    cells_N = np.full(sum(span.length for span in spans), -1)
    filled = 0
    for run in _runs(spans, _WASTED_PAIRS.get(device.type, _GPU_WASTED_PAIRS)):
        start_G1, length_G1, prompt_start_G1, prompt_G1, queries_G1 = np.array(
            [(s.start, s.length, s.prompt_start, s.prompt, s.queries) for s in run]
        ).T[:, :, None]
        column_C, column_P = np.arange(length_G1.max()), np.arange(prompt_G1.max())
        column_Q = np.arange(queries_G1.max())
        G, Q = len(run), len(column_Q)
        # Cells that nothing fills repeat the last token.
        own_GC = start_G1 + np.minimum(column_C, length_G1 - 1)
        prompt_GP = prompt_start_G1 + np.minimum(column_P, prompt_G1 - 1)
        keys_GS = np.concatenate([prompt_GP, own_GC], axis=1)
        keys.append(keys_GS.ravel())
        whole = all(span.asked is None for span in run)
        if whole:
            offset_GQ = column_Q[None]
        else:
            asked = [range(span.length) if span.asked is None else span.asked for span in run]
            offset_GQ = np.array([[*each, *[each[-1]] * (Q - len(each))] for each in asked])
        queries_GQ = start_G1 + np.minimum(offset_GQ, length_G1 - 1)
        queries.append(queries_GQ.ravel())
        real_GQ = column_Q < queries_G1
        cells_N[queries_GQ[real_GQ]] = filled + np.flatnonzero(real_GQ)
        filled += G * Q
        sizes.append((G, Q, len(column_P), len(column_C), whole))
        # A table of one row serves all: those of equal prompts, of all tokens asked for.
        tables += [prompt_G1[:1] if np.ptp(prompt_G1) == 0 else prompt_G1, offset_GQ]
    places_M = np.flatnonzero(cells_N >= 0)
    queries_X = np.searchsorted(places_M, np.concatenate(queries))
    indices = places_M, queries_X, np.concatenate(keys), cells_N[places_M]
    column_X = np.arange(max(max(P, C) for _, _, P, C, _ in sizes))
    # Masks are made where they are read: the tables that they follow from are far smaller.
    column, *brought = bring(device, column_X, *indices, *tables)
    rectangles = []
    for (G, Q, P, C, whole), prompt, offset in zip(
        sizes, brought[4::2], brought[5::2], strict=True
    ):
        causal = whole and not P
        visible = None if causal else _visible(prompt, offset, column[:P], column[:C])
        rectangles.append(Rectangle(G, Q, P + C, visible))
    return Layout(rectangles, *brought[:4])


def _visible(
    prompt_G1: torch.Tensor, offset_GQ: torch.Tensor, column_P: torch.Tensor, column_C: torch.Tensor
) -> torch.Tensor:
    """Return which keys each query sees: its prompt, and of its span the tokens up to itself.

    Either table may have one row for all.
    """
    rows = max(len(prompt_G1), len(offset_GQ))
    prompt_GQP = (column_P < prompt_G1)[:, None].expand(rows, offset_GQ.size(1), -1)
    causal_GQC = (column_C <= offset_GQ[:, :, None]).expand(rows, -1, -1)
    seen_GQS = torch.cat([prompt_GQP, causal_GQC], dim=2)
    return seen_GQS[0] if rows == 1 else seen_GQS[:, None]


def attend(
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
        outputs.append(attention.attend(q, k, v, rectangle.visible, scaling))
    cells_XHD = torch.cat([output.transpose(1, 2).flatten(0, 1) for output in outputs])
    return cells_XHD.index_select(0, layout.cells).transpose(0, 1)[None]


def _runs(spans: Sequence[Span], allowed: float) -> Iterator[list[Span]]:
    """Yield spans that make a rectangle: joined while what they waste costs less than a call.

    Prompts stay among themselves, plainly causal. Spans without queries are in none.
    """
    run: list[Span] = []
    prompt = length = queries = pairs = 0
    order = sorted(spans, key=lambda span: (span.prompt > 0, -span.length, -span.prompt))
    for span in (span for span in order if span.queries):
        needed = span.queries * (span.prompt + span.length)
        prompt, length = max(prompt, span.prompt), max(length, span.length)
        queries, pairs = max(queries, span.queries), pairs + needed
        wasted = (len(run) + 1) * queries * (prompt + length) - pairs
        if run and (wasted > allowed or (run[0].prompt > 0) != (span.prompt > 0)):
            yield run
            run = []
            prompt, length, queries, pairs = span.prompt, span.length, span.queries, needed
        run.append(span)
    if run:
        yield run
