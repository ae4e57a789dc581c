"""All tokens of a batch in one row: each prompt once, then the completions that continue it.

Nothing is padded, so every layer works on exactly the tokens that matter; only attention has to
know which tokens see which. The last token of a completion predicts nothing and is left out. A
completion that comes again in its group is computed once: what follows from equal tokens is equal.

Dimensions: B rows, P prompt columns, T completion columns, N packed tokens, M scored tokens, K
cells that get a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from iterative_grpo.logps.rectangles import Span
from iterative_grpo.transfer import Indices, bring


@dataclass(frozen=True, slots=True)
class Rows:
    """Prompts padded on the left (B, P) and completions padded on the right (B, T).

    NumPy keeps them, so that a GPU is looked at once a batch.
    """

    prompts: Indices
    prompt_lengths: Sequence[int]
    completions: Indices
    completion_lengths: Sequence[int]
    device: torch.device

    @classmethod
    def read(cls, ids: torch.Tensor, mask: torch.Tensor, completion_columns: int) -> Rows | None:
        """Cut TRL's batch; None if a prompt is empty or padding lies elsewhere than said above."""
        ids_BX, mask_BX = torch.stack([ids, mask.to(ids.dtype)]).numpy(force=True)
        prompt_BP, completion_BT = np.split(ids_BX, [-completion_columns], axis=1)
        prompt_seen, completion_seen = np.split(mask_BX != 0, [-completion_columns], axis=1)
        prompt_B, completion_B = prompt_seen.sum(1), completion_seen.sum(1)
        regular = np.concatenate([prompt_seen, completion_seen], axis=1) == _seen(
            prompt_B, prompt_BP.shape[1], completion_B, completion_columns
        )
        if not (regular.all() and prompt_B.all()):
            return None
        return cls(prompt_BP, prompt_B.tolist(), completion_BT, completion_B.tolist(), ids.device)

    def groups(self) -> list[list[int]]:
        """Return the indices of rows with equal prompts, by first appearance."""
        found: dict[bytes, list[int]] = {}
        for row, (ids, length) in enumerate(zip(self.prompts, self.prompt_lengths, strict=True)):
            found.setdefault(ids[len(ids) - length :].tobytes(), []).append(row)
        return list(found.values())

    def equal(self, rows: Sequence[int]) -> list[list[int]]:
        """Return `rows` in lists of those with equal completions, by first appearance."""
        found: dict[bytes, list[int]] = {}
        for row in rows:
            ids = self.completions[row, : self.completion_lengths[row]]
            found.setdefault(ids.tobytes(), []).append(row)
        return list(found.values())

    def select(self, rows: Sequence[int]) -> Rows:
        """Return some rows, without the columns that are padding in all of them."""
        prompts = [self.prompt_lengths[row] for row in rows]
        completions = [self.completion_lengths[row] for row in rows]
        return Rows(
            self.prompts[rows, -max(prompts) :],
            prompts,
            self.completions[rows, : max(completions)],
            completions,
            self.device,
        )

    def padded(self) -> tuple[Indices, Indices]:
        """Return ids and mask (B, P + T)."""
        seen = _seen(
            np.array(self.prompt_lengths),
            self.prompts.shape[1],
            np.array(self.completion_lengths),
            self.completions.shape[1],
        )
        return np.concatenate([self.prompts, self.completions], axis=1), seen.astype(np.int64)


def _seen(prompt_B: Indices, P: int, completion_B: Indices, T: int) -> NDArray[np.bool_]:
    """Return what is no padding (B, P + T), from the tokens of prompts and completions."""
    prompt_BP = np.arange(P) >= P - prompt_B[:, None]
    return np.concatenate([prompt_BP, np.arange(T) < completion_B[:, None]], axis=1)


@dataclass(frozen=True, slots=True)
class Pack:
    """A packed batch: `ids` and `positions` (1, N), how they attend, and what to read off them.

    `sources` (M,) are the packed places that predict the tokens `targets` (M,). The cell `cells[k]`
    (K,) of a flattened (B, T) gets the log-probability of target `copied[k]` (K,).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    spans: Sequence[Span]
    sources: torch.Tensor
    targets: torch.Tensor
    cells: torch.Tensor
    copied: torch.Tensor


def pack(rows: Rows, groups: Sequence[Sequence[int]], *, once: bool = True) -> Pack:
    """Pack groups of rows with equal prompts; with `once`, completions that come again are not."""
    width_P, width_T = rows.prompts.shape[1], rows.completions.shape[1]
    flat = np.concatenate([rows.prompts.ravel(), rows.completions.ravel()])
    completions_at = rows.prompts.size
    taken: list[Indices] = []
    positions: list[Indices] = []
    sources: list[Indices] = []
    targets: list[Indices] = []
    cells: list[Indices] = []
    copied: list[Indices] = []
    scored = 0
    spans: list[Span] = []
    place = 0
    for group in groups:
        length = rows.prompt_lengths[group[0]]
        first = (group[0] + 1) * width_P - length
        taken.append(np.arange(first, first + length))
        positions.append(np.arange(length))
        prompt = place
        spans.append(Span(prompt, length))
        place += length
        last = place - 1
        for same in rows.equal(group) if once else [[row] for row in group]:
            count = max(rows.completion_lengths[same[0]] - 1, 0)
            cell = same[0] * width_T
            spans.append(Span(place, count, prompt, length))
            taken.append(np.arange(completions_at + cell, completions_at + cell + count))
            positions.append(np.arange(length, length + count))
            if rows.completion_lengths[same[0]]:
                sources.append(np.array([last]))
                sources.append(np.arange(place, place + count))
                first = completions_at + cell
                targets.append(np.arange(first, first + count + 1))
                for row in same:
                    cells.append(np.arange(row * width_T, row * width_T + count + 1))
                    copied.append(np.arange(scored, scored + count + 1))
                scored += count + 1
            place += count
    none = np.zeros(0, dtype=np.int64)
    taken_N, position_N, source_M, target_M, cell_K, copied_K = (
        np.concatenate([*parts, none])
        for parts in (taken, positions, sources, targets, cells, copied)
    )
    ids_1N, positions_1N, *scored_places = bring(
        rows.device,
        *(flat[taken_N][None], position_N[None]),
        *(source_M, flat[target_M], cell_K, copied_K),
    )
    return Pack(ids_1N, positions_1N, spans, *scored_places)


def budgeted(
    rows: Rows, groups: Sequence[Sequence[int]], tokens: int
) -> Iterator[list[Sequence[int]]]:
    """Yield batches of groups that pack into `tokens` (or one group, if it is larger)."""
    batch: list[Sequence[int]] = []
    filled = 0
    for group in groups:
        size = rows.prompt_lengths[group[0]] + sum(rows.completion_lengths[row] for row in group)
        if batch and filled + size > tokens:
            yield batch
            batch, filled = [], 0
        batch.append(group)
        filled += size
    if batch:
        yield batch
