"""Keys and values of prompts, kept from call to call while the weights stay as they are.

Step labels ask for the same questions and steps again and again, some a step longer each time.
Tokens are kept packed, as passes compute them; a prompt that starts like a former one gets copies.

Dimensions: as in `_prefill`; N stems, L the longest one's tokens, Z tokens kept.
"""

from __future__ import annotations

import bisect
from typing import Any

import torch

from iterative_grpo.engines._prefill import Copies, Pass
from iterative_grpo.engines._prefixes import PrefixPlan, common


class Memory:
    """What a model computed of prompts: `limit` tokens, then it starts over."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._weights: list[tuple[int, int]] = []
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.tokens = 0
        # By layer, keys and values in chunks (1, K, T, D): one a pass, joined by the next recall.
        self._chunks: dict[int, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self._sorted: list[tuple[int, ...]] = []
        self._places: dict[tuple[int, ...], torch.Tensor] = {}
        # Of the plan that is computed now: where the tokens of its stems are kept.
        self._place_NL = torch.empty(0, 0, dtype=torch.long)
        self._computing = False

    def check(self, model: Any) -> None:
        """Forget everything if these are not the last call's weights, or if that call failed.

        torch counts the changes of a tensor, but not those made through its `data`.
        """
        weights = [
            (it.data_ptr(), 0 if it.is_inference() else it._version) for it in model.parameters()
        ]
        if weights != self._weights or self._computing:
            self.clear()
        self._weights = weights

    def known(self, prompt: tuple[int, ...]) -> int:
        """Return how many tokens at the prompt's start are kept."""
        return common(self._nearest(prompt), prompt)

    def _nearest(self, prompt: tuple[int, ...]) -> tuple[int, ...]:
        # In lexicographic order, what shares most with a prompt is beside it.
        place = bisect.bisect(self._sorted, prompt)
        near = self._sorted[max(place - 1, 0) : place + 1]
        return max(near, key=lambda stem: common(stem, prompt), default=())

    def recall(self, plan: PrefixPlan) -> Copies | None:
        """Begin a plan: return where the known tokens of its stems go, if there are any."""
        place_NL = torch.full((len(plan.stems), max(map(len, plan.stems))), -1)
        for place_L, stem, known in zip(place_NL, plan.stems, plan.known, strict=True):
            if known:
                place_L[:known] = self._places[self._nearest(stem)][:known]
        self._place_NL, self._computing = place_NL, True
        stem_X, position_X = (place_NL >= 0).nonzero(as_tuple=True)
        if not len(stem_X):
            return None
        token_X = place_NL[stem_X, position_X]
        return Copies(token_X, stem_X, position_X).to(self._chunks[0][0][0].device)

    def states(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a layer's keys and values, (1, K, Z, D) each."""
        for chunks in self._chunks[layer]:
            chunks[:] = [torch.cat(chunks, dim=2)]
        (keys,), (values,) = self._chunks[layer]
        return keys, values

    def keep(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep a layer's keys and values, (1, K, T, D) each, of a pass."""
        kept = self._chunks.setdefault(layer, ([], []))
        for chunks, states in zip(kept, (keys, values), strict=True):
            chunks.append(states)

    def passed(self, part: Pass) -> None:
        """Note where the tokens of a pass are, which all layers have kept."""
        copies = part.copies.to(self._place_NL.device)
        self._place_NL[copies.stem, copies.position] = self.tokens + copies.token
        self.tokens += part.ids.numel()

    def learn(self, plan: PrefixPlan) -> None:
        """End a plan: know its stems from now on."""
        for stem, place_L in zip(plan.stems, self._place_NL, strict=True):
            if stem not in self._places:
                bisect.insort(self._sorted, stem)
            self._places[stem] = place_L[: len(stem)]
        self._computing = False
