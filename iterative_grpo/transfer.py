"""Tables that NumPy makes and the model reads, wherever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def bring(device: torch.device, *tables: NDArray[Any]) -> list[torch.Tensor]:
    """Return tables of one type on a device, in one transfer that Python does not wait for."""
    together = torch.from_numpy(np.concatenate([table.ravel() for table in tables]))
    if device.type == "cuda":
        # Only from pinned memory does a GPU read while Python goes on.
        together = together.pin_memory()
    parts = together.to(device, non_blocking=True).split([table.size for table in tables])
    return [part.view(table.shape) for part, table in zip(parts, tables, strict=True)]
