"""The precision that a model computes in, which need not be that of its weights."""

from __future__ import annotations

import torch


def computed_in(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return what a device multiplies tensors of `dtype` in here: autocast's, where that is on."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return dtype
