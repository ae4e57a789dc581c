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

from iterative_grpo.logps.rectangles import Layout, Span, layout

# Many short ranges are made and joined: numpy takes a tenth of torch's time for each.
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Prompts padded on the left (B, P) and completions padded on the right (B, T)."""

    prompts: torch.Tensor
    prompt_lengths: Sequence[int]
    completions: torch.Tensor
    completion_lengths: Sequence[int]

    @classmethod
    def read(cls, ids: torch.Tensor, mask: torch.Tensor, completion_columns: int) -> Rows | None:
        """Cut TRL's batch; None if a prompt is empty or padding lies elsewhere than said above."""
        prompt_BP, completion_BT = ids[:, :-completion_columns], ids[:, -completion_columns:]
        seen = mask.bool()
        prompt_seen, completion_seen = seen[:, :-completion_columns], seen[:, -completion_columns:]
        prompt_B, completion_B = prompt_seen.sum(1), completion_seen.sum(1)
        columns_P = torch.arange(prompt_BP.size(1), device=ids.device)
        columns_T = torch.arange(completion_columns, device=ids.device)
        regular = (
            (prompt_seen == (columns_P >= prompt_BP.size(1) - prompt_B[:, None])).all()
            & (completion_seen == (columns_T < completion_B[:, None])).all()
            & (prompt_B > 0).all()
        )
        # One look at the device for everything.
        found = torch.cat([regular[None].long(), prompt_B, completion_B]).tolist()
        if not found[0]:
            return None
        rows = len(ids)
        return cls(prompt_BP, found[1 : rows + 1], completion_BT, found[rows + 1 :])

    def groups(self) -> list[list[int]]:
        """Return the indices of rows with equal prompts, by first appearance."""
        found: dict[tuple[int, ...], list[int]] = {}
        for row, (ids, length) in enumerate(
            zip(self.prompts.tolist(), self.prompt_lengths, strict=True)
        ):
            found.setdefault(tuple(ids[len(ids) - length :]), []).append(row)
        return list(found.values())

    def equal(self, rows: Sequence[int]) -> list[list[int]]:
        """Return `rows` in lists of those with equal completions, by first appearance."""
        found: dict[tuple[int, ...], list[int]] = {}
        index = torch.tensor(rows, dtype=torch.long, device=self.completions.device)
        for row, ids in zip(rows, self.completions[index].tolist(), strict=True):
            found.setdefault(tuple(ids[: self.completion_lengths[row]]), []).append(row)
        return list(found.values())

    def select(self, rows: Sequence[int]) -> Rows:
        """Return some rows, without the columns that are padding in all of them."""
        index = torch.tensor(rows, dtype=torch.long, device=self.prompts.device)
        prompts = [self.prompt_lengths[row] for row in rows]
        completions = [self.completion_lengths[row] for row in rows]
        return Rows(
            self.prompts[index, -max(prompts) :],
            prompts,
            self.completions[index, : max(completions)],
            completions,
        )


@dataclass(frozen=True, slots=True)
class Pack:
    """A packed batch: `ids` and `positions` (1, N), how they attend, and what to read off them.

    `sources` (M,) are the packed places that predict the tokens `targets` (M,). The cell `cells[k]`
    (K,) of a flattened (B, T) gets the log-probability of target `copied[k]` (K,).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout
    sources: torch.Tensor
    targets: torch.Tensor
    cells: torch.Tensor
    copied: torch.Tensor


def pack(rows: Rows, groups: Sequence[Sequence[int]], *, once: bool = True) -> Pack:
    """Pack groups of rows with equal prompts; with `once`, completions that come again are not."""
    device = rows.prompts.device
    width_P, width_T = rows.prompts.size(1), rows.completions.size(1)
    flat = torch.cat([rows.prompts.reshape(-1), rows.completions.reshape(-1)])
    completions_at = rows.prompts.numel()
    taken: list[Indices] = []
    positions: list[Indices] = []
    sources: list[Indices] = []
    firsts: list[Indices] = []
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
                firsts.append(np.arange(cell, cell + count + 1))
                for row in same:
                    cells.append(np.arange(row * width_T, row * width_T + count + 1))
                    copied.append(np.arange(scored, scored + count + 1))
                scored += count + 1
            place += count
    firsts_M = _joined(firsts, device)
    return Pack(
        ids=flat[_joined(taken, device)][None],
        positions=_joined(positions, device)[None],
        layout=layout(spans, device),
        sources=_joined(sources, device),
        targets=rows.completions.reshape(-1)[firsts_M],
        cells=_joined(cells, device),
        copied=_joined(copied, device),
    )


def _joined(parts: Sequence[Indices], device: torch.device) -> torch.Tensor:
    none = np.zeros(0, dtype=np.int64)
    return torch.from_numpy(np.concatenate([*parts, none])).to(device)


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
