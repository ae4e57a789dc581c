"""From logits to tokens: one uniform number a token, from a stream that belongs to its row.

A row's numbers depend on the seed, its prompt, its sample index and the position, and on nothing
else that is in the batch, so a result does not change with how prompts are batched (up to the
rounding of the model's own arithmetic).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from iterative_grpo.transfer import Indices, bring
from iterative_grpo.types import Sampling

_CPU = torch.device("cpu")
# More than any vocabulary has, and exact in float32.
_LARGEST_K = 2**24
# Tokens of a block when a large vocabulary is searched.
_BLOCK = 64
# The increment and the two multipliers of SplitMix64 (Steele, Lea and Flood 2014,
# doi:10.1145/2660193.2660195, figure 15).
_STEP = 0x9E3779B97F4A7C15
_MULTIPLIERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def streams(
    prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
) -> list[NDArray[np.uint64]]:
    """Return for each prompt the states (G,) that the random numbers of its rows start from.

    The same prompt given twice with the same sampling gets different numbers: the k-th time it is
    met is part of its streams' name. With another sampling it is met anew, so that a request's
    numbers are those it would have without the others.
    """
    met: Counter[tuple[Sampling, tuple[int, ...]]] = Counter()
    found = []
    for prompt, sampling in zip(prompts, samplings, strict=True):
        ids = tuple(prompt)
        name = f"{sampling.seed} {met[sampling, ids]} {ids}".encode()
        met[sampling, ids] += 1
        state = np.uint64(int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()))
        samples_G = np.arange(1, sampling.group_size + 1, dtype=np.uint64)
        # Mixed a first time here: samples start at unrelated places of the generator's cycle.
        found.append(_mixed(state + samples_G * np.uint64(_STEP)))
    return found


def uniforms(stream_B: NDArray[np.uint64], length: int) -> torch.Tensor:
    """Return the numbers of these streams in [0, 1), float64 of shape (length, B)."""
    positions_T1 = np.arange(1, length + 1, dtype=np.uint64)[:, None]
    bits_TB = _mixed(stream_B + positions_T1 * np.uint64(_STEP))
    return torch.from_numpy((bits_TB >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's output function of each state."""
    for shift, multiplier in _MULTIPLIERS:
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(multiplier)
    return state ^ (state >> np.uint64(31))


class Picker:
    """Chooses the next token of each row: temperature, then top-k, then top-p, as `generate`.

    What no row asks for is not computed.

    Args:
        asked_3B: temperature, top_p and top_k of each row, or (3, 1) where all rows share them; in
            float32, where a temperature may be so small that it is 0.
        device: where the logits are.
    """

    def __init__(self, asked_3B: NDArray[np.float32], device: torch.device) -> None:
        self.asked_3B, self.device = asked_3B, device
        temperature_B, top_p_B, top_k_B = asked_3B
        greedy_B = temperature_B == 0
        divisor_B = np.where(greedy_B, np.float32(1), temperature_B)
        self._all_greedy = bool(greedy_B.all())
        self._some_greedy = bool(greedy_B.any())
        self._divides = bool((divisor_B != 1).any())
        self._largest_k = int(top_k_B.max())
        self._has_nucleus = bool((top_p_B < 1).any())
        columns = greedy_B.astype(np.float32), divisor_B, top_p_B, top_k_B
        greedy_B1, self._divisor_B1, self._top_p_B1, top_k_B1 = bring(
            device, *(column[:, None] for column in columns)
        )
        self._greedy_B, self._top_k_B1 = greedy_B1[:, 0] > 0, top_k_B1.long()

    @classmethod
    def of(cls, samplings_B: Sequence[Sampling], device: torch.device = _CPU) -> Picker:
        """Return the picker for rows with these samplings."""
        rows = [(s.temperature, s.top_p, min(s.top_k, _LARGEST_K)) for s in samplings_B]
        if len(set(rows)) == 1:
            rows = rows[:1]
        return cls(np.array(rows, dtype=np.float32).T, device)

    def at(self, places: Indices) -> Picker:
        """Return the picker for these of the rows, in their order."""
        if self.asked_3B.shape[1] == 1:
            return self
        return Picker(self.asked_3B[:, places], self.device)

    def pick(
        self,
        logits_BV: torch.Tensor,
        uniform_R: torch.Tensor,
        place_R: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return tokens (R,) and their log-probabilities (R,) in float32.

        Row r draws from the distribution `place_R[r]`; without places each row has its own. The
        log-probabilities are those of the distribution sampled from, after temperature and
        filters; for greedy choices, where that is a point, those of the model itself.
        """
        logits_BV = logits_BV.float()
        if self._all_greedy:
            best_R, best_logp_R = _of_rows(_best(logits_BV), place_R)
            return best_R, best_logp_R
        token_R, logp_R = self._sampled(logits_BV, uniform_R, place_R)
        if self._some_greedy:
            best_R, best_logp_R = _of_rows(_best(logits_BV), place_R)
            (greedy_R,) = _of_rows((self._greedy_B,), place_R)
            token_R = torch.where(greedy_R, best_R, token_R)
            logp_R = torch.where(greedy_R, best_logp_R, logp_R)
        return token_R, logp_R

    def _sampled(
        self, logits_BV: torch.Tensor, uniform_R: torch.Tensor, place_R: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self._divides:
            logits_BV = logits_BV / self._divisor_B1
        if self._largest_k:
            logits_BV = self._most_probable(logits_BV)
        probs_BV = logits_BV.softmax(-1)
        if self._has_nucleus:
            probs_BV = self._nucleus(probs_BV)
        token_R = _drawn(probs_BV, uniform_R, place_R)
        of_R = _each(probs_BV, place_R)
        chosen_R = probs_BV[of_R, token_R]
        if self._has_nucleus:
            chosen_R = chosen_R / probs_BV.sum(-1)[of_R]
        return token_R, chosen_R.log()

    def _most_probable(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """Hide all but the `top_k` largest logits; 0 hides none."""
        rows, vocabulary = logits_BV.shape
        largest_BK = logits_BV.topk(min(self._largest_k, vocabulary), dim=-1).values
        last_B1 = (self._top_k_B1.clamp(max=vocabulary) - 1).clamp(min=0).expand(rows, 1)
        kth_B1 = largest_BK.gather(1, last_B1)
        kth_B1 = kth_B1.masked_fill(self._top_k_B1 == 0, -float("inf"))
        return logits_BV.masked_fill(logits_BV < kth_B1, -float("inf"))

    def _nucleus(self, probs_BV: torch.Tensor) -> torch.Tensor:
        """Zero all but the fewest most probable tokens that hold `top_p` of the mass; 1 keeps all.

        Sums of float32 reach 1 before the last token, so that 1 is no border.
        """
        sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = sorted_BV.cumsum(-1) - sorted_BV
        border_B1 = self._top_p_B1.masked_fill(self._top_p_B1 == 1, float("inf"))
        kept_BV = sorted_BV.masked_fill(before_BV >= border_B1, 0.0)
        return probs_BV.scatter(1, order_BV, kept_BV)


def _best(logits_BV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    best_B = logits_BV.argmax(-1)
    chosen_B = logits_BV.gather(1, best_B[:, None])[:, 0]
    return best_B, chosen_B - logits_BV.logsumexp(-1)


def _of_rows(
    values_B: tuple[torch.Tensor, ...], place_R: torch.Tensor | None
) -> tuple[torch.Tensor, ...]:
    return values_B if place_R is None else tuple(x.index_select(0, place_R) for x in values_B)


def _each(x: torch.Tensor, place_R: torch.Tensor | None) -> torch.Tensor:
    return torch.arange(len(x), device=x.device) if place_R is None else place_R


def _drawn(
    weights_BV: torch.Tensor, uniform_R: torch.Tensor, place_R: torch.Tensor | None
) -> torch.Tensor:
    """Return the tokens (R,) where the cumulative weights of the rows' places pass their numbers.

    Large vocabularies are searched in two steps, first among blocks: a cumulative sum runs one
    element at a time, a plain sum several.
    """
    vocabulary = weights_BV.shape[1]
    if vocabulary <= _BLOCK * 16:
        return _search(weights_BV, uniform_R, place_R)[0][:, 0]
    padding = -vocabulary % _BLOCK
    if padding:
        weights_BV = torch.nn.functional.pad(weights_BV, (0, padding))
    blocks_BNW = weights_BV.unflatten(1, (-1, _BLOCK))
    weights_BN = blocks_BNW.sum(-1)
    block_R1, point_R1, cumulative_RN = _search(weights_BN, uniform_R, place_R)
    # How far into the block it is, as a share of the block's weight, is a uniform number again.
    above_R1 = cumulative_RN.gather(1, block_R1) - point_R1
    block_R = block_R1[:, 0]
    of_R = _each(weights_BV, place_R)
    share_R1 = above_R1 / weights_BN[of_R, block_R][:, None]
    rest_R = (1 - share_R1).clamp_(0, 1 - 2**-53)[:, 0]
    within_R = _search(blocks_BNW[of_R, block_R], rest_R, None)[0][:, 0]
    return (block_R * _BLOCK + within_R).clamp_(max=vocabulary - 1)


def _search(
    weights_BN: torch.Tensor, uniform_R: torch.Tensor, place_R: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return where cumulative weights pass `uniform` of their total (R, 1), that point, and them.

    In float64, so that the rarest tokens keep their probability.
    """
    (cumulative_RN,) = _of_rows((weights_BN.cumsum(-1, dtype=torch.float64),), place_R)
    total_R1 = cumulative_RN[:, -1:]
    # Rounding up to the total itself would point behind the last entry that has a weight.
    below_R1 = total_R1.nextafter(torch.zeros_like(total_R1))
    point_R1 = torch.minimum(uniform_R[:, None] * total_R1, below_R1)
    found_R1 = torch.searchsorted(cumulative_RN, point_R1, right=True)
    # What is no number is found behind the end; `Decoder` looks for it once all is drawn.
    return found_R1.clamp_(max=cumulative_RN.shape[1] - 1), point_R1, cumulative_RN
