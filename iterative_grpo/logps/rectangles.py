"""Which packed tokens attend together: spans of them, gathered into rectangles.

A span is a prompt, or a completion that follows one. Spans of similar size make a rectangle, whose
attention is one call; what is gathered to fill it up is seen by nothing.

Dimensions: N packed tokens; of a rectangle G spans, P tokens of their longest prompt, C tokens of
the longest span, S = P + C.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

# Pairs of tokens whose attention takes about as long as one more call, forward and backward:
# measured on a CPU; on a GPU an estimate, some 20 microseconds of a small model's products.
_WASTED_PAIRS = {"cpu": 2_000}
_GPU_WASTED_PAIRS = 500_000


@dataclass(frozen=True, slots=True)
class Span:
    """`length` tokens from the packed place `start` on, and the prompt that they follow.

    Each sees the prompt, itself and the tokens of the span before it.
    """

    start: int
    length: int
    prompt_start: int = 0
    prompt: int = 0


@dataclass(frozen=True, slots=True)
class Rectangle:
    """G rows of C queries, each row with S keys; `visible` as in `attention.attend`."""

    rows: int
    columns: int
    seen: int
    visible: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Layout:
    """Rectangles, the packed places that fill them, and the way back.

    `queries` and `keys` are the places of all rectangles' queries (sum of G * C) and keys (sum of
    G * S), row after row. The packed token n is query `cells[n]` (N,).
    """

    rectangles: Sequence[Rectangle]
    queries: torch.Tensor
    keys: torch.Tensor
    cells: torch.Tensor


def layout(spans: Sequence[Span], device: torch.device) -> Layout:
    """Return the rectangles of these spans, which cover all packed tokens."""
    rectangles, queries, keys = [], [], []
    cells_N = torch.empty(sum(span.length for span in spans), dtype=torch.long)
    filled = 0
    for run in _runs(spans, _WASTED_PAIRS.get(device.type, _GPU_WASTED_PAIRS)):
        start_G1, length_G1, prompt_start_G1, prompt_G1 = (
            torch.tensor(column)[:, None]
            for column in zip(
                *((s.start, s.length, s.prompt_start, s.prompt) for s in run), strict=True
            )
        )
        column_C, column_P = torch.arange(int(length_G1.max())), torch.arange(int(prompt_G1.max()))
        G, C = len(run), len(column_C)
        # Cells that nothing fills repeat the last token.
        own_GC = start_G1 + column_C.minimum(length_G1 - 1)
        asked_GP = prompt_start_G1 + column_P.minimum(prompt_G1 - 1)
        keys_GS = torch.cat([asked_GP, own_GC], dim=1)
        visible = None
        if len(column_P):
            causal_GCC = torch.ones(C, C, dtype=torch.bool).tril().expand(G, -1, -1)
            asked_GCP = (column_P < prompt_G1)[:, None].expand(-1, C, -1)
            visible = torch.cat([asked_GCP, causal_GCC], dim=2)[:, None]
            if len({span.prompt for span in run}) == 1:
                visible = visible[0, 0]
            visible = visible.to(device)
        rectangles.append(Rectangle(G, C, keys_GS.shape[1], visible))
        queries.append(own_GC.flatten())
        keys.append(keys_GS.flatten())
        real_GC = column_C < length_G1
        cells_N[own_GC[real_GC]] = filled + real_GC.flatten().nonzero()[:, 0]
        filled += G * C
    return Layout(
        rectangles, torch.cat(queries).to(device), torch.cat(keys).to(device), cells_N.to(device)
    )


def _runs(spans: Sequence[Span], allowed: float) -> Iterator[list[Span]]:
    """Yield spans that make a rectangle: joined while what they waste costs less than a call.

    Prompts stay among themselves, plainly causal. Empty spans are in none.
    """
    run: list[Span] = []
    longest = pairs = 0
    order = sorted(spans, key=lambda span: (span.prompt > 0, -span.length, -span.prompt))
    for span in (span for span in order if span.length):
        longest = max(longest, span.prompt)
        pairs += span.length * (span.prompt + span.length)
        columns = run[0].length if run else span.length
        wasted = (len(run) + 1) * columns * (longest + columns) - pairs
        if run and (wasted > allowed or (run[0].prompt > 0) != (span.prompt > 0)):
            yield run
            run = []
            longest = span.prompt
            pairs = span.length * (span.prompt + span.length)
        run.append(span)
    if run:
        yield run
