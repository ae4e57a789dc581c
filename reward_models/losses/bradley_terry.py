"""Bradley-Terry on pairs of one problem's solutions.

L = mean over pairs (a, b) of solutions, of the mean over their ends (k, l) with y_k - y_l >= 1/2,
of -log sigmoid(z_k - z_l): the better end should get the higher logit (Christiano et al.,
arXiv:1706.03741; over ends it is a departure, with one end it is theirs). Only differences within
a problem are learnt: the scores are not calibrated, and some thousand pairs are needed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

MARGIN = 0.5
"""Smallest difference of labels that orders two ends: below it, Monte-Carlo noise would."""


def items(
    labels: Sequence[Sequence[float]], problem_ids: Sequence[str], generator: np.random.Generator
) -> list[tuple[int, ...]]:
    """Return pairs of rows of one problem whose last labels differ by the margin, better first.

    Each row of a problem's larger side is met once; the smaller side repeats.
    """
    groups: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for row, (values, problem_id) in enumerate(zip(labels, problem_ids, strict=True)):
        groups[problem_id][values[-1] < 0.5].append(row)
    pairs: list[tuple[int, ...]] = []
    for better, worse in groups.values():
        if not better or not worse:
            continue
        generator.shuffle(better)
        generator.shuffle(worse)
        for index in range(max(len(better), len(worse))):
            a, b = better[index % len(better)], worse[index % len(worse)]
            if labels[a][-1] - labels[b][-1] >= MARGIN:
                pairs.append((a, b))
    return pairs


def total(
    logits_N: torch.Tensor, labels_N: torch.Tensor, sizes: Sequence[int], weights_N: torch.Tensor
) -> torch.Tensor:
    """Return the sum over pairs of the mean over their ordered ends; a pair weighs as its first."""
    import torch
    from torch.nn import functional

    logits = torch.split(logits_N, list(sizes))
    labels = torch.split(labels_N, list(sizes))
    weights = torch.split(weights_N, list(sizes))
    losses = []
    for a in range(0, len(sizes), 2):
        gaps_KL = logits[a][:, None] - logits[a + 1][None, :]
        ordered_KL = labels[a][:, None] - labels[a + 1][None, :] >= MARGIN
        losses.append(weights[a][0] * functional.softplus(-gaps_KL[ordered_KL]).mean())
    return torch.stack(losses).sum()


def weight(sizes: Sequence[int], weights_N: torch.Tensor) -> float:
    """Return the sum of the pairs' weights."""
    import torch

    return float(sum(part[0] for part in torch.split(weights_N, list(sizes))[::2]))
