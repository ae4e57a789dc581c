"""The precision that a model computes in, which need not be that of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def computed_in(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return what a device multiplies tensors of `dtype` in here: autocast's, where that is on."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return dtype


def cast(model: Any, dtype: torch.dtype | None) -> None:
    """Change the precision of a model's weights, in place; None leaves them as they are.

    Weights alone, as `from_pretrained` does: `model.to` would round the frequencies of rotary
    positions, too, and far tokens would be turned by other angles.
    """
    for weight in _others(model, dtype):
        weight.data = weight.data.to(dtype)


@contextmanager
def weights_in(model: Any, dtype: torch.dtype | None) -> Iterator[None]:
    """`cast` a model's weights inside.

    Parameters stay the same objects and get their very data back: an optimizer does not notice.
    """
    weights = _others(model, dtype)
    before = [weight.data for weight in weights]
    try:
        cast(model, dtype)
        yield
    finally:
        for weight, data in zip(weights, before, strict=True):
            weight.data = data


def _others(model: Any, dtype: torch.dtype | None) -> list[torch.nn.Parameter]:
    """Return the weights that are in another precision; what is no number is in none."""
    return [p for p in model.parameters() if dtype not in (None, p.dtype) and p.is_floating_point()]
