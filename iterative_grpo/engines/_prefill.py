"""Passes that compute prompts: the edges of their prefix tree, packed into one row without padding.

Layers see a row of tokens that belong together only by their positions; attention unpacks it, gives
each edge the keys and values of what it follows, and stores the new ones with all stems that the
edge is part of.

Dimensions: E edges, W tokens of the longest, T tokens in all, X copies of tokens to store, S
positions seen; heads and sizes as in `_shared_cache`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from iterative_grpo.attention import scaled_dot_product
from iterative_grpo.engines._prefixes import Edge

# Padded tokens of a pass: enough to fill the products, few enough to bound activations.
_TOKENS = 8_192
# Positions seen in a pass: their keys and values are copied, one layer at a time.
_SEEN = 4 * _TOKENS
# What a forward pass costs beyond its tokens, in tokens. On a CPU calling the layers takes as long
# as some 64 tokens of a small model; a GPU is idle below a few thousand.
_LEVEL_TOKENS = {"cpu": 64}
_GPU_LEVEL_TOKENS = 2_048


def level_tokens(device: torch.device) -> int:
    """Return how many tokens a level of shared prefixes has to save on this device."""
    return _LEVEL_TOKENS.get(device.type, _GPU_LEVEL_TOKENS)


def passes(level: Sequence[Edge]) -> Iterator[list[Edge]]:
    """Yield edges, short ones first, in passes whose padded tokens keep to the budget."""
    batch: list[Edge] = []
    seen = 0
    for edge in sorted(level, key=lambda edge: edge.stop - edge.start):
        rows = len(batch) + 1
        grown = max(seen, edge.stop)
        if batch and (rows * (edge.stop - edge.start) > _TOKENS or rows * grown > _SEEN):
            yield batch
            batch, grown = [], edge.stop
        batch.append(edge)
        seen = grown
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Copies:
    """Which packed token belongs at which position of which stem, (X) each."""

    token: torch.Tensor
    stem: torch.Tensor
    position: torch.Tensor

    def to(self, device: torch.device) -> Copies:
        """Return the same copies, to be made on a device."""
        return Copies(*(x.to(device) for x in (self.token, self.stem, self.position)))

    def store(self, states: torch.Tensor, prompts: torch.Tensor) -> None:
        """Write keys or values (1, K, T, D) to the stems' (N, K, L, D)."""
        new = states[0].transpose(0, 1).index_select(0, self.token)
        prompts[self.stem, :, self.position] = new.to(prompts.dtype)


class Pass:
    """Edges of one level, computed together: `ids` and `positions` (1, T) go to the model."""

    def __init__(
        self, edges: Sequence[Edge], stems: Sequence[Sequence[int]], device: torch.device
    ) -> None:
        length_E = torch.tensor([edge.stop - edge.start for edge in edges])
        start_E = torch.tensor([edge.start for edge in edges])
        first_E = length_E.cumsum(0) - length_E
        edge_T, place_T = _ragged(length_E)
        position_T = start_E[edge_T] + place_T
        self.first_tokens: list[int] = first_E.tolist()
        ids = [token for e in edges for token in stems[e.stems[0]][e.start : e.stop]]
        self.ids = torch.tensor([ids], device=device)
        self.positions = position_T[None].to(device)

        self.shape = len(edges), int(length_E.max())
        E, W = self.shape
        self.padded = len(ids) < E * W
        # Padding repeats a token of the edge; it sees no more than that token, nothing sees it.
        within_EW = torch.arange(W).minimum(length_E[:, None] - 1)
        self.token_of_place = (first_E[:, None] + within_EW).flatten().to(device)
        self.place_of_token = (edge_T * W + place_T).to(device)

        count_E = torch.tensor([len(edge.stems) for edge in edges])
        stem_of_copy = torch.tensor([stem for edge in edges for stem in edge.stems])
        token_X, copy_X = _ragged(count_E[edge_T])
        first_copy_E = count_E.cumsum(0) - count_E
        stem_X = stem_of_copy[first_copy_E[edge_T[token_X]] + copy_X]
        self.copies = Copies(token_X, stem_X, position_T[token_X]).to(device)

        self.seen = max(edge.stop for edge in edges)
        self.stem_E = torch.tensor([edge.stems[0] for edge in edges], device=device)
        self.visible: torch.Tensor | None = None
        if any(edge.start for edge in edges):
            last_EW = (start_E[:, None] + within_EW).to(device)
            self.visible = torch.arange(self.seen, device=device) <= last_EW[:, None, :, None]

    def unpack(self, x: torch.Tensor) -> torch.Tensor:
        """Return (1, H, T, D) as (E, H, W, D)."""
        x = x[0].transpose(0, 1)
        if self.padded:
            x = x.index_select(0, self.token_of_place)
        return x.view(*self.shape, *x.shape[1:]).transpose(1, 2)

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        """Return (E, H, W, D) as (1, T, H, D)."""
        x = x.transpose(1, 2).flatten(0, 1)
        if self.padded:
            x = x.index_select(0, self.place_of_token)
        return x[None]

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        prompt_keys: torch.Tensor,
        prompt_values: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Attend causally within each stem, its stored positions included; return (1, T, H, D)."""
        if self.visible is None:
            key, value = self.unpack(key), self.unpack(value)
        else:
            key, value = (
                prompt[self.stem_E, :, : self.seen].to(query.dtype)
                for prompt in (prompt_keys, prompt_values)
            )
        return self.pack(scaled_dot_product(self.unpack(query), key, value, self.visible, scaling))


def _ragged(lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each element of rows of these lengths its row and its place there."""
    row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return row, torch.arange(len(row)) - (lengths.cumsum(0) - lengths)[row]
