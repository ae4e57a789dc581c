"""Binary cross-entropy with soft targets at the marked ends.

L = -sum_k w_k [y_k log s_k + (1 - y_k) log(1 - s_k)] / sum_k w_k, s_k = sigmoid(z_k), y_k in [0, 1]
(Math-Shepherd, arXiv:2312.08935, equations 1 and 4; hard labels are y in {0, 1}). Every end counts
the same, so that a solution of many steps weighs more than one of few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def items(
    labels: Sequence[Sequence[float]], problem_ids: Sequence[str], generator: np.random.Generator
) -> list[tuple[int, ...]]:
    """Return every row alone."""
    return [(row,) for row in range(len(labels))]


def total(
    logits_N: torch.Tensor, labels_N: torch.Tensor, sizes: Sequence[int], weights_N: torch.Tensor
) -> torch.Tensor:
    """Return the weighted sum over all ends."""
    from torch.nn import functional

    loss: torch.Tensor = functional.binary_cross_entropy_with_logits(
        logits_N, labels_N, weight=weights_N, reduction="sum"
    )
    return loss


def weight(sizes: Sequence[int], weights_N: torch.Tensor) -> float:
    """Return the sum of the ends' weights."""
    return float(weights_N.sum())
