"""All tokens of a batch in one row: each prompt once, then the completions that continue it.

Nothing is padded, so every layer works on exactly the tokens that matter; only attention has to
know which tokens see which. The last token of a completion predicts nothing and is left out. A
completion that comes again in its group is computed once: what follows from equal tokens is equal.

Dimensions: B rows, P prompt columns, T completion columns, N packed tokens, M scored tokens, K
cells that get a score, G completions of a prompt, C longest completion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

# Pairs of tokens whose attention, forward and backward, takes about as long as one more call on a
# CPU. Elsewhere calls are what is dear.
_WASTED_PAIRS = {"cpu": 2_000}


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
class Rectangle:
    """Completions that are attended from together: `size` tokens in G `rows` of C `columns`.

    Where lengths differ, `padded` (G * C,) are places among these tokens, with short completions'
    last ones (or the row's before, if they have none) repeated, and `kept` are the cells that are
    no repetitions.
    """

    size: int
    rows: int
    columns: int
    padded: torch.Tensor | None = None
    kept: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt's length and, behind it in the packed row, its completions."""

    prompt: int
    rectangles: Sequence[Rectangle]

    @property
    def sizes(self) -> list[int]:
        """Return the tokens of the prompt and of each rectangle, in packed order."""
        return [self.prompt, *(rectangle.size for rectangle in self.rectangles)]


@dataclass(frozen=True, slots=True)
class Pack:
    """A packed batch: `ids` and `positions` (1, N), and what to read off it.

    `sources` (M,) are the packed places that predict the tokens `targets` (M,). The cell `cells[k]`
    (K,) of a flattened (B, T) gets the log-probability of target `copied[k]` (K,).
    """

    ids: torch.Tensor
    positions: torch.Tensor
    groups: Sequence[Group]
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
    taken: list[torch.Tensor] = []
    positions: list[torch.Tensor] = []
    sources: list[torch.Tensor] = []
    firsts: list[torch.Tensor] = []
    cells: list[torch.Tensor] = []
    copied: list[torch.Tensor] = []
    scored = 0
    packed: list[Group] = []
    place = 0
    for group in groups:
        length = rows.prompt_lengths[group[0]]
        first = (group[0] + 1) * width_P - length
        taken.append(torch.arange(first, first + length))
        positions.append(torch.arange(length))
        place += length
        last = place - 1
        # By length, so that rectangles have little padding.
        equal = rows.equal(group) if once else [[row] for row in group]
        ordered = sorted(equal, key=lambda same: -rows.completion_lengths[same[0]])
        counts = [max(rows.completion_lengths[same[0]] - 1, 0) for same in ordered]
        packed.append(Group(length, rectangles(counts, length, device)))
        for same, count in zip(ordered, counts, strict=True):
            cell = same[0] * width_T
            taken.append(torch.arange(completions_at + cell, completions_at + cell + count))
            positions.append(torch.arange(length, length + count))
            if rows.completion_lengths[same[0]]:
                sources.append(torch.tensor([last]))
                sources.append(torch.arange(place, place + count))
                firsts.append(torch.arange(cell, cell + count + 1))
                for row in same:
                    cells.append(torch.arange(row * width_T, row * width_T + count + 1))
                    copied.append(torch.arange(scored, scored + count + 1))
                scored += count + 1
            place += count
    none = torch.zeros(0, dtype=torch.long)
    firsts_M = torch.cat([*firsts, none]).to(device)
    return Pack(
        ids=flat[torch.cat(taken).to(device)][None],
        positions=torch.cat(positions).to(device)[None],
        groups=packed,
        sources=torch.cat([*sources, none]).to(device),
        targets=rows.completions.reshape(-1)[firsts_M],
        cells=torch.cat([*cells, none]).to(device),
        copied=torch.cat([*copied, none]).to(device),
    )


def rectangles(counts: Sequence[int], prompt: int, device: torch.device) -> list[Rectangle]:
    """Cut completions of descending length into rectangles; empty ones at the end are in none.

    Rows join while the pairs of tokens they waste cost less than a call of their own.
    """
    allowed = _WASTED_PAIRS.get(device.type, float("inf"))
    runs: list[list[int]] = []
    wasted = 0
    for count in counts:
        if runs:
            columns = runs[-1][0]
            wasted += (columns - count) * (prompt + columns)
            if wasted <= allowed:
                runs[-1].append(count)
                continue
        runs.append([count])
        wasted = 0
    return [_rectangle(run, device) for run in runs if run[0]]


def _rectangle(counts: Sequence[int], device: torch.device) -> Rectangle:
    rows, columns = len(counts), counts[0]
    if counts[-1] == columns:
        return Rectangle(rows * columns, rows, columns)
    count_G = torch.tensor(counts)
    end_G = count_G.cumsum(0)
    column_C = torch.arange(columns)
    # Row 0 is not empty, so there is a place before an empty row's.
    padded_GC = torch.minimum((end_G - count_G)[:, None] + column_C, end_G[:, None] - 1)
    kept = (column_C < count_G[:, None]).flatten().nonzero().squeeze(-1)
    return Rectangle(sum(counts), rows, columns, padded_GC.flatten().to(device), kept.to(device))


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
