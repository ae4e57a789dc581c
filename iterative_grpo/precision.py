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
    for weight in model.parameters():
        if _changes(weight, dtype):
            weight.data = weight.data.to(dtype)


@contextmanager
def weights_in(model: Any, dtype: torch.dtype | None) -> Iterator[None]:
    """Let copies of a model's weights in another precision stand in their place inside.

    The weights themselves are not touched: one whose data change their type forgets who listens to
    its gradient, and processes that train together (DDP) would part without a word.
    """
    own = [
        (module, name, weight)
        for module in model.modules()
        for name, weight in module._parameters.items()
        if weight is not None and _changes(weight, dtype)
    ]
    copies: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
    try:
        for module, name, weight in own:
            if weight not in copies:  # tied ones stay tied
                low = weight.detach().to(dtype)
                copies[weight] = torch.nn.Parameter(low, requires_grad=False)
            module._parameters[name] = copies[weight]
        yield
    finally:
        for module, name, weight in own:
            module._parameters[name] = weight


def _changes(weight: torch.Tensor, dtype: torch.dtype | None) -> bool:
    return dtype not in (None, weight.dtype) and weight.is_floating_point()
