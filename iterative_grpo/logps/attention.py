"""Attention over a packed row: completions see their prompt and themselves.

Keys and values of a prompt are gathered for each completion that follows it, whose gradients all
flow back into the one prompt: for one kernel where it can be had (`varlen.py`), else in rectangles
(`rectangles.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from iterative_grpo.attention import Attend
from iterative_grpo.logps import rectangles, varlen
from iterative_grpo.logps.rectangles import Span


def packed(spans: Sequence[Span], model: Any, device: torch.device) -> Attend:
    """Return how a transformers model attends over a packed row of these spans, asked for whole."""
    if varlen.fits(model, device):
        return partial(varlen.attend, varlen.texts(spans, device))
    return partial(rectangles.attend, rectangles.layout(spans, device))
