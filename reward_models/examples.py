"""Labeled solutions as a training loop wants them: encoded, weighted, batched by length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from reward_models.types import LabeledSolution

if TYPE_CHECKING:
    from reward_models.model import RewardModel

_BUCKET = 64
"""Batches that are sorted by length together: enough to pad little, few enough to stay mixed."""


class OneClass(ValueError):
    """Labels that are all right or all wrong: there is nothing to tell apart."""


class Examples:
    """Rows encoded once, and the batches of an epoch."""

    def __init__(
        self, model: RewardModel, rows: Sequence[LabeledSolution], loss: ModuleType
    ) -> None:
        self.rows = rows
        self.loss = loss
        self.encoded = model.encode(
            [row.question for row in rows], [row.text for row in rows], [row.ends for row in rows]
        )
        self.labels = [row.labels for row in rows]
        self.problem_ids = [row.problem_id for row in rows]

    def require_two_classes(self) -> None:
        """Refuse rows whose labels are all on one side of one half, or of which no pair exists."""
        right = sum(label >= 0.5 for labels in self.labels for label in labels)
        total = sum(len(labels) for labels in self.labels)
        if right in (0, total):
            side = "at least" if right else "below"
            raise OneClass(
                f"{len(self.rows)} labeled solutions with {total} labels, all {side} 0.5; a reward "
                "model needs right and wrong ones: sample more, or from easier or harder questions"
            )
        if not self.loss.items(self.labels, self.problem_ids, np.random.default_rng(0)):
            raise OneClass(
                f"none of {len(set(self.problem_ids))} problems has a right and a wrong solution, "
                "the loss needs such pairs: sample more solutions of each "
                "problem, or take loss 'bce'"
            )

    def weights(self, heads: int, balance: str, seed: int) -> list[list[list[float]]]:
        """Return the weight of each end of each row for each head.

        Balance weighs an end of label y by 1 + (w - 1) y. An ensemble's heads see problems as often
        as a Poisson(1) draw says, which is the bootstrap for many problems. Rows of one class, as
        a few validation questions may be, have nothing to balance.
        """
        right = math.fsum(label for labels in self.labels for label in labels)
        wrong = sum(len(labels) for labels in self.labels) - right
        tilt = wrong / right - 1 if balance == "classes" and right and wrong else 0.0
        drawn: list[dict[str, float]] = []
        names = list(dict.fromkeys(self.problem_ids))
        for head in range(heads):
            generator = np.random.default_rng([seed, head])
            counts = generator.poisson(1, len(names)) if heads > 1 else np.ones(len(names))
            drawn.append(dict(zip(names, counts.tolist(), strict=True)))
        return [
            [
                [times[name] * (1 + tilt * label) for label in labels]
                for name, labels in zip(self.problem_ids, self.labels, strict=True)
            ]
            for times in drawn
        ]

    def batches(self, size: int, generator: np.random.Generator) -> list[list[int]]:
        """Return one epoch's batches of row numbers: near equal lengths, in random order."""
        items = self.loss.items(self.labels, self.problem_ids, generator)
        length = [max(len(self.encoded[row].token_ids) for row in item) for item in items]
        order = generator.permutation(len(items))
        batches: list[list[int]] = []
        for begin in range(0, len(order), size * _BUCKET):
            bucket = sorted(order[begin : begin + size * _BUCKET], key=lambda i: length[i])
            for first in range(0, len(bucket), size):
                batches.append([row for i in bucket[first : first + size] for row in items[i]])
        shuffled = generator.permutation(len(batches))
        return [batches[index] for index in shuffled]

    def joined(self, batches: Sequence[list[int]], positions: int) -> Iterator[list[int]]:
        """Yield batches joined to so many positions, padding included, or one that is larger."""

        def longest(rows: Sequence[int]) -> int:
            return max(len(self.encoded[row].token_ids) for row in rows)

        whole: list[int] = []
        for batch in sorted(batches, key=longest):
            # Of this order, the new batch has the longest row.
            if whole and (len(whole) + len(batch)) * longest(batch) > positions:
                yield whole
                whole = []
            whole = whole + batch
        if whole:
            yield whole
