"""Tables that NumPy makes and the model reads, wherever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def bring(device: torch.device, *tables: NDArray[Any]) -> list[torch.Tensor]:
    """Return copies of tables of one type on a device.

    They go in one transfer, and Python does not wait until a CUDA GPU has read them.
    """
    together = torch.from_numpy(np.concatenate([table.ravel() for table in tables]))
    pinned = device.type == "cuda"
    if pinned:
        # Only such memory is kept for the GPU while Python goes on.
        together = together.pin_memory()
    parts = together.to(device, non_blocking=pinned).split([table.size for table in tables])
    return [part.view(table.shape) for part, table in zip(parts, tables, strict=True)]
