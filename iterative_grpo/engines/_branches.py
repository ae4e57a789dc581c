"""Rows that drew the same tokens so far are one branch, computed once, until they part.

What follows a prompt and the tokens drawn behind it has one distribution. Each row of the branch
draws from it with its own number; where they draw unlike tokens the branch forks, and the new ones
get copies of its keys and values. A policy that is sure of itself forks late. Once most rows are
alone, each gets a place in the cache for good, and nobody looks for forks any more.

Dimensions: B rows, R of them still sampled, A places in the cache, U branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from iterative_grpo.engines._shared_cache import Rows, SharedCache
from iterative_grpo.transfer import Indices, bring

# Branches move when this share of the places is empty: moving costs, and so does carrying them.
_EMPTY_SHARE = 1 / 16
# Branches for each row from which on sharing saves less than it costs.
_APART = 3 / 4


@dataclass(frozen=True, slots=True)
class Step:
    """What the model is asked next: a token for each place (A).

    `sources` (A) is where each place was before, None if nothing moved.
    """

    tokens: torch.Tensor
    sources: Indices | None = None


class Branches:
    """Which rows are left, and in which place of the cache each of them goes on.

    The tables are NumPy's, and copies of them are brought to the model: a GPU is looked at once a
    step, for what the rows drew.

    Args:
        cache: holds the prompts' stems, and nothing drawn yet.
        stems: of each prompt; `lengths` are its tokens, `limits` how many its rows add at most.
        groups: how many rows each prompt has.
        share: whether rows share places at all.

    Attributes:
        prompt_B: the prompt of each row.
        row_R, place_R: which rows are left, and their places; `far_row_R` and `far_place_R` are the
            same where the model is.
        far_done_R: rows that go no further, set from outside; `done_R` as far as anybody looked.
        reached_B: how many tokens each row was sampled for, its limit while it is left.
    """

    def __init__(
        self,
        cache: SharedCache,
        stems: Sequence[int],
        lengths: Sequence[int],
        limits: Sequence[int],
        groups: Sequence[int],
        device: torch.device,
        share: bool = True,
    ) -> None:
        self.cache, self.device = cache, device
        self.prompt_B = np.arange(len(groups)).repeat(groups)
        self._limit_B = np.array(limits)[self.prompt_B]
        self.reached_B = self._limit_B.copy()
        # Stem, tokens of the prompt, and the last position that may be asked for.
        last = [length + limit - 1 for length, limit in zip(lengths, limits, strict=True)]
        self._state_3A = np.array([list(stems), list(lengths), last])
        row_B = np.arange(len(self.prompt_B))
        self.shared = share and len(row_B) > len(groups) / _APART
        if not self.shared:
            self._state_3A = self._state_3A[:, self.prompt_B]
        self._settle(row_B, self.prompt_B if self.shared else row_B)
        self._lay_out()

    def __len__(self) -> int:
        """How many rows are left."""
        return len(self.row_R)

    @property
    def positions(self) -> torch.Tensor:
        """The position (A) of each place's next token.

        A branch that is carried beyond its limit stays within the model's positions.
        """
        return torch.minimum(self._length_A + self.cache.length, self._last_A)

    def look(self, tokens: Sequence[torch.Tensor]) -> Indices:
        """Return what the rows drew, (X, R) of X steps (R), and find out which of them are done."""
        far_done_R = self.far_done_R.to(tokens[0].dtype)
        table = torch.stack([far_done_R, *tokens]).numpy(force=True)
        self.done_R |= (table[0] > 0) | (self._limit_B[self.row_R] <= self.cache.length + 1)
        return table[1:]

    def advance(self, far_token_R: torch.Tensor, token_R: Indices) -> Step:
        """Go on with what the rows drew last, without those that are done."""
        if not self.shared and self.done_R.sum() <= len(self) * _EMPTY_SHARE:
            return Step(far_token_R)
        ended = self.row_R[self.done_R]
        self.reached_B[ended] = np.minimum(self.reached_B[ended], self.cache.length + 1)
        left = ~self.done_R
        row_R, place_R, token_R = self.row_R[left], self.place_R[left], token_R[left]
        # Equal keys for rows that go on together, rising with their places.
        key_R = place_R * (int(token_R.max(initial=0)) + 1) + token_R
        _, first_U, branch_R = np.unique(key_R, return_index=True, return_inverse=True)
        if len(first_U) > _APART * len(row_R):
            self.shared = False
        if not self.shared and len(first_U) < len(row_R):
            key_R = place_R * len(row_R) + np.arange(len(row_R))
            _, first_U, branch_R = np.unique(key_R, return_index=True, return_inverse=True)
        parent_U = place_R[first_U]
        place_U, count = self._places(parent_U)
        source_A = self._move(parent_U, place_U, count)
        token_A = np.zeros(count, dtype=np.int64)
        token_A[place_U] = token_R[first_U]
        place_R = place_U[branch_R]
        if not self.shared:
            row_R, place_R = row_R[place_R.argsort()], np.arange(count)
        self._settle(row_R, place_R)
        (far_token_A,) = bring(self.device, token_A)
        return Step(far_token_A, source_A)

    def _places(self, parent_U: Indices) -> tuple[Indices, int]:
        """Return where branches from `parent_U` (rising) go on, and how many places remain.

        The first branch of a parent stays. Others take empty places, then new ones. Many empty
        places are filled from the end.
        """
        before = self._state_3A.shape[1]
        fork_U = np.zeros(len(parent_U), dtype=bool)
        fork_U[1:] = parent_U[1:] == parent_U[:-1]
        taken_A = np.zeros(before, dtype=bool)
        taken_A[parent_U] = True
        empty = np.flatnonzero(~taken_A)
        forks = int(fork_U.sum())
        places = max(before, before + forks - len(empty))
        place_U = parent_U.copy()
        place_U[fork_U] = np.concatenate([empty, np.arange(before, places)])[:forks]
        left = places - len(parent_U)
        if left > (_EMPTY_SHARE * places if self.shared else 0):
            return _closed(place_U), len(place_U)
        return place_U, places

    def _move(self, parent_U: Indices, place_U: Indices, places: int) -> Indices | None:
        """Copy branches to where they go on; return where each place was, None if nothing moved."""
        away_U = place_U != parent_U
        before = self._state_3A.shape[1]
        if places == before and not away_U.any():
            return None
        source_A = np.arange(places)
        source_A[place_U] = parent_U
        if away_U.any():
            source, target = bring(self.device, parent_U[away_U], place_U[away_U])
            # Nobody is left at a target, so that no source is overwritten.
            for layer in self.cache.shared:
                layer.move_rows(source, target)
        self._state_3A = self._state_3A[:, source_A]
        if places:
            if places < before:
                self._drop_stems()
            self._lay_out()
        return source_A

    def _settle(self, row_R: Indices, place_R: Indices) -> None:
        self.row_R, self.place_R = row_R, place_R
        self.far_row_R, self.far_place_R = bring(self.device, row_R, place_R)
        self.done_R = np.zeros(len(row_R), dtype=bool)
        self.far_done_R = torch.zeros(len(row_R), dtype=torch.bool, device=self.device)
        # No more branches than rows are ever needed.
        self.cache.capacity = len(row_R)

    def _drop_stems(self) -> None:
        used_N, index_A = np.unique(self._state_3A[0], return_inverse=True)
        kept_N = _closed(used_N)
        moved_N = kept_N != used_N
        if moved_N.any():
            source, target = bring(self.device, used_N[moved_N], kept_N[moved_N])
            for layer in self.cache.shared:
                layer.move_stems(source, target)
            self._state_3A[0] = kept_N[index_A]
        self.cache.stems = len(used_N)

    def _lay_out(self) -> None:
        stem_A, length_A, last_A = self._state_3A
        self._length_A, self._last_A = bring(self.device, length_A, last_A)
        cache = self.cache
        cache.rows = Rows(stem_A, length_A, cache.stems, cache.longest, self.device)


def _closed(places: Indices) -> Indices:
    """Return distinct places with those that lie beyond their number moved into the gaps."""
    gap = np.ones(len(places), dtype=bool)
    gap[places[places < len(places)]] = False
    closed = places.copy()
    closed[places >= len(places)] = np.flatnonzero(gap)
    return closed
