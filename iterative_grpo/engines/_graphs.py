"""Decoding steps as CUDA graphs: one launch a step, where Python would launch several hundred.

A small or middling model's step keeps a GPU busy for less time than Python takes to ask for it. A
graph is captured once and replayed with new tokens on the same memory, for as long as the rows stay
where they are in the cache and their position stays in one of its blocks. Capturing costs a step of
Python and more, so that a layout gets its graph at its second step.
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs)

Dimensions: A rows, V vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from iterative_grpo.engines._shared_cache import SharedCache

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Tokens (A) and their positions (A) to the logits (A, V) behind them."""


class Replayed:
    """A step that is captured where it comes again.

    A call raises ValueError if it cannot be: layers that look at results wait for the GPU.

    Args:
        step: must not wait for the GPU once it has seen a layout.
        cache: what the step writes to; its `length` must be the step's position at each call.
        device: where the model is.
    """

    def __init__(self, step: Step, cache: SharedCache, device: torch.device) -> None:
        self.step, self.cache, self.device = step, cache, device
        cache.place_1 = torch.zeros(1, dtype=torch.long, device=device)
        self.stream = _stream(device)
        # No graph is replayed after the next one is captured, so that they share memory.
        self.pool = torch.cuda.graph_pool_handle()
        self._layout: object = None
        self._captured: _Captured | None = None

    def __call__(self, token_A: torch.Tensor, position_A: torch.Tensor) -> torch.Tensor:
        """Return the logits (A, V), which the next call may overwrite."""
        layout = self.cache.layout
        if layout != self._layout:
            # The first step of a layout makes what the others need: tables, a block's memory.
            self._layout = layout
            return self.step(token_A, position_A)
        if self._captured is None or self._captured.layout != layout:
            # The GPU may still be at the last one: it is let go once capturing has waited.
            self._captured = _Captured(self, token_A, position_A)
        return self._captured.replay(token_A, position_A)


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return where steps of a device are captured: cuBLAS keeps memory for each stream it met."""
    # The device need not be the current one.
    return torch.cuda.Stream(device)


class _Captured:
    """One step, with the memory that it reads its tokens and positions from."""

    def __init__(self, replayed: Replayed, token_A: torch.Tensor, position_A: torch.Tensor) -> None:
        self.layout = replayed.cache.layout
        self.token_A, self.position_A = token_A.clone(), position_A.clone()
        self.graph = torch.cuda.CUDAGraph()
        capture = torch.cuda.graph(
            self.graph,
            pool=replayed.pool,
            stream=replayed.stream,
            # Other threads (data loaders, collectives) may go on asking for things.
            capture_error_mode="thread_local",
        )
        current = torch.cuda.current_stream(replayed.device)
        try:
            # A capture that fails leaves its stream behind as the current one.
            with torch.cuda.device(replayed.device), torch.cuda.stream(current), capture:
                self.logits_AV = replayed.step(self.token_A, self.position_A)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # The end of a broken capture fails, too; what broke it came before.
            raise ValueError(
                "this model's decoding step cannot be captured as a CUDA graph; use the 'native' "
                f"engine. ({error.__context__ or error})"
            ) from error

    def replay(self, token_A: torch.Tensor, position_A: torch.Tensor) -> torch.Tensor:
        self.token_A.copy_(token_A)
        self.position_A.copy_(position_A)
        self.graph.replay()
        return self.logits_AV
