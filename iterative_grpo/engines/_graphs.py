"""Decoding steps as CUDA graphs: one launch a step, where Python would launch several hundred.

A small or middling model's step keeps a GPU busy for less time than Python takes to ask for it. A
graph is captured once and replayed with new tokens on the same memory, for as long as the rows stay
where they are in the cache and their position stays in one of its blocks. Capturing costs about as
much as two steps, so that a layout is worth a graph from its second step on.
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs)

Dimensions: A rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from iterative_grpo.engines._shared_cache import SharedCache

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Tokens (A) and their positions (A) to the logits (A, V) behind them."""

Layout = tuple[object, ...]


class Replayed:
    """A step that is captured where it comes again.

    A call raises ValueError if it cannot be: layers that look at results, as GPT-2's do, wait.

    Args:
        step: must not wait for the GPU once it has seen a layout.
        cache: what the step writes to; its `length` must be the step's position at each call.
    """

    def __init__(self, step: Step, cache: SharedCache, device: torch.device) -> None:
        self.step, self.cache = step, cache
        cache.place_1 = torch.zeros(1, dtype=torch.long, device=device)
        self._layout: Layout = ()
        self._captured: _Captured | None = None

    def __call__(self, token_A: torch.Tensor, position_A: torch.Tensor) -> torch.Tensor:
        """Return the logits (A, V), which the next call may overwrite."""
        layout = (*self.cache.layout, len(token_A))
        if layout != self._layout:
            # The first step of a layout makes what the others need: tables, a block's memory.
            self._layout = layout
            return self.step(token_A, position_A)
        if self._captured is None or self._captured.layout != layout:
            # The GPU may still be at the last one: it is let go once capturing has waited.
            self._captured = _Captured(self.step, token_A, position_A, layout)
        return self._captured.replay(token_A, position_A)


class _Captured:
    """One step, with the memory that it reads its tokens and positions from."""

    def __init__(
        self, step: Step, token_A: torch.Tensor, position_A: torch.Tensor, layout: Layout
    ) -> None:
        self.layout = layout
        self.token_A, self.position_A = token_A.clone(), position_A.clone()
        self.graph = torch.cuda.CUDAGraph()
        try:
            # Other threads (data loaders, collectives) may go on asking for things.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.logits_AV = step(self.token_A, self.position_A)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(
                "this model's decoding step cannot be captured as a CUDA graph; use the 'native' "
                f"engine. ({error})"
            ) from error

    def replay(self, token_A: torch.Tensor, position_A: torch.Tensor) -> torch.Tensor:
        self.token_A.copy_(token_A)
        self.position_A.copy_(position_A)
        self.graph.replay()
        return self.logits_AV
