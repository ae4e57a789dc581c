"""A model as it is computed: with its weights here, or with FSDP gathering them around a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from iterative_grpo.forwards import replacing
from iterative_grpo.logps import models

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Held:
    """A transformers model, and the one to call for its logits.

    Args:
        inner: whose backbone and head are computed.
        whole: itself, or the root that FSDP gathers its weights by.
        most: returns the largest of its processes' numbers. Those of a model in shards have to take
            equally many forward passes, on the same path.
    """

    inner: Any
    whole: Any
    most: Callable[[int], int]

    @classmethod
    def by(cls, model: Any, inner: Any, most: Callable[[int], int]) -> Held:
        """Return how `model`, which holds `inner`, is computed; `most` asks all processes."""
        return cls(inner, model, most) if models.in_shards(model) else cls(inner, inner, int)

    @property
    def in_shards(self) -> bool:
        """Whether its processes have to do the same."""
        return models.in_shards(self.whole)

    def run(self, ids: torch.Tensor, compute: Callable[[], Result]) -> Result:
        """Return what `compute` makes of the model's modules, while the weights are here."""
        if not self.in_shards:
            return compute()
        made: list[Result] = []

        def forward(*_: Any, **__: Any) -> Result:
            made.append(compute())
            return made[0]

        # In a forward pass of the root's own: FSDP gathers the weights around it.
        with replacing(self.inner, forward):
            self.whole(ids)
        # Not what it returns: under mixed precision FSDP rounds that.
        return made[0]
