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
from numpy.typing import NDArray

from iterative_grpo.engines._shared_cache import Rows, SharedCache

# Branches move when this share of the places is empty: moving costs, and so does carrying them.
_EMPTY_SHARE = 1 / 16
# Branches for each row from which on sharing saves less than it costs.
_APART = 3 / 4

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Step:
    """What the model is asked next: a token for each place (A).

    `sources` (A) is where each place was before, None if nothing moved.
    """

    tokens: torch.Tensor
    sources: torch.Tensor | None = None


class Branches:
    """Which rows are left, and in which place of the cache each of them goes on.

    Args:
        cache: holds the prompts' stems, and nothing drawn yet.
        stems: of each prompt; `lengths` are its tokens, `limits` how many its rows add at most.
        groups: how many rows each prompt has.
        share: whether rows share places at all.
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
        prompt_R = np.arange(len(groups)).repeat(groups)
        self.prompt_B = self._tensor(prompt_R)
        self.limit_B = torch.tensor(limits, device=device)[self.prompt_B]
        self.reached_B = self.limit_B.clone()
        # Stem, tokens of the prompt, and the last position that may be asked for.
        last = [length + limit - 1 for length, limit in zip(lengths, limits, strict=True)]
        self._state_3A = torch.tensor([list(stems), list(lengths), last], device=device)
        self.shared = share and len(prompt_R) > len(groups) / _APART
        place_R = prompt_R
        if not self.shared:
            place_R = np.arange(len(prompt_R))
            self._state_3A = self._state_3A.index_select(1, self._tensor(prompt_R))
        self._settle(np.arange(len(prompt_R)), place_R)
        self._lay_out()

    def __len__(self) -> int:
        """How many rows are left."""
        return len(self.row_R)

    @property
    def positions(self) -> torch.Tensor:
        """The position (A) of each place's next token.

        A branch that is carried beyond its limit stays within the model's positions.
        """
        _, length_A, last_A = self._state_3A
        return torch.minimum(length_A + self.cache.length, last_A)

    def advance(self, token_R: torch.Tensor) -> Step:
        """Go on with what the rows drew, without those that are done."""
        if not self.shared and not self._many_done():
            return Step(token_R)
        self.reached_B[self.row_R[self.done_R]] = self.cache.length + 1
        left_R = (~self.done_R).numpy(force=True)
        rows, places, tokens = (
            each.numpy(force=True)[left_R] for each in (self.row_R, self.place_R, token_R)
        )
        # Equal keys for rows that go on together, rising with their places.
        keys = places * (int(tokens.max(initial=0)) + 1) + tokens
        _, first_U, branch_R = np.unique(keys, return_index=True, return_inverse=True)
        if len(first_U) > _APART * len(rows):
            self.shared = False
        if not self.shared and len(first_U) < len(rows):
            keys = places * len(rows) + np.arange(len(rows))
            _, first_U, branch_R = np.unique(keys, return_index=True, return_inverse=True)
        parent_U = places[first_U]
        place_U, count = self._places(parent_U)
        moved = self._move(parent_U, place_U, count)
        token_A = np.zeros(count, dtype=np.int64)
        token_A[place_U] = tokens[first_U]
        places = place_U[branch_R]
        if not self.shared:
            rows, places = rows[places.argsort()], np.arange(count)
        self._settle(rows, places)
        return Step(self._tensor(token_A), moved)

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

    def _move(self, parent_U: Indices, place_U: Indices, places: int) -> torch.Tensor | None:
        """Copy branches to where they go on; return where each place was, None if nothing moved."""
        away_U = place_U != parent_U
        before = self._state_3A.shape[1]
        if places == before and not away_U.any():
            return None
        source, target = self._tensor(parent_U[away_U]), self._tensor(place_U[away_U])
        if len(source):
            # Nobody is left at a target, so that no source is overwritten.
            for layer in self.cache.shared:
                layer.move_rows(source, target)
        source_A = torch.arange(places, device=self.device)
        source_A[target] = source
        self._state_3A = self._state_3A.index_select(1, source_A)
        if places:
            if places < before:
                self._drop_stems()
            self._lay_out()
        return source_A

    def _settle(self, row_R: Indices, place_R: Indices) -> None:
        self.row_R, self.place_R = self._tensor(row_R), self._tensor(place_R)
        self.done_R = torch.zeros(len(row_R), dtype=torch.bool, device=self.device)
        # No more branches than rows are ever needed.
        self.cache.capacity = len(row_R)

    def _many_done(self) -> bool:
        done = int(self.done_R.sum())
        return done == len(self.done_R) or done > len(self.done_R) * _EMPTY_SHARE

    def _drop_stems(self) -> None:
        used_N, index_A = np.unique(self._state_3A[0].numpy(force=True), return_inverse=True)
        kept_N = _closed(used_N)
        moved_N = kept_N != used_N
        if moved_N.any():
            source, target = self._tensor(used_N[moved_N]), self._tensor(kept_N[moved_N])
            for layer in self.cache.shared:
                layer.move_stems(source, target)
            self._state_3A[0] = self._tensor(kept_N[index_A])
        self.cache.stems = len(used_N)

    def _lay_out(self) -> None:
        stem_A, length_A, _ = self._state_3A
        self.cache.rows = Rows(stem_A, length_A, self.cache.stems, self.cache.longest)

    def _tensor(self, indices: Indices) -> torch.Tensor:
        return torch.from_numpy(indices).to(self.device)


def _closed(places: Indices) -> Indices:
    """Return distinct places with those that lie beyond their number moved into the gaps."""
    gap = np.ones(len(places), dtype=bool)
    gap[places[places < len(places)]] = False
    closed = places.copy()
    closed[places >= len(places)] = np.flatnonzero(gap)
    return closed
