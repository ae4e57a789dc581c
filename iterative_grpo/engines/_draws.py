"""From logits to tokens: one uniform number a token, from a stream that belongs to its row.

A row's numbers depend on the seed, its prompt, its sample index and the position, and on nothing
else that is in the batch, so a result does not change with how prompts are batched (up to the
rounding of the model's own arithmetic).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from iterative_grpo.types import Sampling

# Tokens of a block when a large vocabulary is searched.
_BLOCK = 64
# The increment and the two multipliers of SplitMix64 (Steele, Lea and Flood 2014,
# doi:10.1145/2660193.2660195, figure 15).
_STEP = 0x9E3779B97F4A7C15
_MULTIPLIERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def uniforms(prompts: Sequence[Sequence[int]], sampling: Sampling) -> torch.Tensor:
    """Return numbers in [0, 1), float64 of shape (T, P, G).

    The same prompt given twice gets different numbers: the k-th time it is met is part of its
    stream's name.
    """
    met: Counter[tuple[int, ...]] = Counter()
    names_P = np.empty(len(prompts), dtype=np.uint64)
    for index, prompt in enumerate(prompts):
        ids = tuple(prompt)
        name = f"{sampling.seed} {met[ids]} {ids}"
        met[ids] += 1
        names_P[index] = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    samples_G = np.arange(1, sampling.group_size + 1, dtype=np.uint64)
    positions_T = np.arange(1, sampling.max_tokens + 1, dtype=np.uint64)
    step = np.uint64(_STEP)
    # Two rounds: the samples of a prompt start at unrelated places of the generator's cycle.
    rows_PG = _mixed(names_P[:, None] + samples_G * step)
    bits_TPG = _mixed(rows_PG + positions_T[:, None, None] * step)
    return torch.from_numpy((bits_TPG >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output function of each state."""
    for shift, multiplier in _MULTIPLIERS:
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(multiplier)
    return state ^ (state >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Picker:
    """Chooses the next token of each row: temperature, then top-k, then top-p, as `generate`."""

    temperature: float
    top_p: float
    top_k: int

    def pick(
        self, logits_BV: torch.Tensor, uniform_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens (B,) and their log-probabilities (B,) in float32.

        The log-probabilities are those of the distribution sampled from, after temperature and
        filters; for greedy choices, where that is a point, those of the model itself.
        """
        logits_BV = logits_BV.float()
        if self.temperature == 0:
            best_B = logits_BV.argmax(-1)
            chosen_B = logits_BV.gather(1, best_B[:, None])[:, 0]
            return best_B, chosen_B - logits_BV.logsumexp(-1)
        if self.temperature != 1:
            logits_BV = logits_BV / self.temperature
        if 0 < self.top_k < logits_BV.shape[1]:
            kth_B1 = logits_BV.topk(self.top_k, dim=-1).values[:, -1:]
            logits_BV = logits_BV.masked_fill(logits_BV < kth_B1, -float("inf"))
        probs_BV = logits_BV.softmax(-1)
        if self.top_p < 1:
            probs_BV = self._nucleus(probs_BV)
        token_B = _drawn(probs_BV, uniform_B)
        chosen_B = probs_BV.gather(1, token_B[:, None])[:, 0]
        if self.top_p < 1:
            chosen_B = chosen_B / probs_BV.sum(-1)
        return token_B, chosen_B.log()

    def _nucleus(self, probs_BV: torch.Tensor) -> torch.Tensor:
        """Zero all but the fewest most probable tokens that hold `top_p` of the mass."""
        sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = sorted_BV.cumsum(-1) - sorted_BV
        kept_BV = sorted_BV.masked_fill(before_BV >= self.top_p, 0.0)
        return probs_BV.scatter(1, order_BV, kept_BV)


def _drawn(weights_BV: torch.Tensor, uniform_B: torch.Tensor) -> torch.Tensor:
    """Return the tokens (B,) where the cumulative weights pass the rows' numbers.

    Large vocabularies are searched in two steps, first among blocks: a cumulative sum runs one
    element at a time, a plain sum several.
    """
    vocabulary = weights_BV.shape[1]
    if vocabulary <= _BLOCK * 16:
        return _search(weights_BV, uniform_B)[0]
    padding = -vocabulary % _BLOCK
    if padding:
        weights_BV = torch.nn.functional.pad(weights_BV, (0, padding))
    blocks_BNW = weights_BV.unflatten(1, (-1, _BLOCK))
    block_B, rest_B = _search(blocks_BNW.sum(-1), uniform_B)
    inside_BW = blocks_BNW[torch.arange(len(block_B), device=block_B.device), block_B]
    return block_B * _BLOCK + _search(inside_BW, rest_B)[0]


def _search(weights_BN: torch.Tensor, uniform_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where cumulative weights pass `uniform` of their total, and how far into that entry.

    In float64, so that the rarest tokens keep their probability. The place in the entry is a share
    of its weight, a uniform number again.
    """
    cumulative_BN = weights_BN.cumsum(-1, dtype=torch.float64)
    total_B = cumulative_BN[:, -1]
    # Rounding up to the total itself would point behind the last entry that has a weight.
    point_B = torch.minimum(uniform_B * total_B, total_B.nextafter(torch.zeros_like(total_B)))
    index_B1 = torch.searchsorted(cumulative_BN, point_B[:, None], right=True)
    weight_B = weights_BN.gather(1, index_B1)[:, 0]
    above_B = cumulative_BN.gather(1, index_B1)[:, 0] - point_B
    return index_B1[:, 0], (1 - above_B / weight_B).clamp_(0, 1 - 2**-53)
