"""Batches for passes without a gradient: every row once, within the budget."""

from __future__ import annotations

import numpy as np
import pytest

from reward_models.encoding import Encoded
from reward_models.examples import Examples


def of_lengths(lengths: list[int]) -> Examples:
    made = Examples.__new__(Examples)
    made.encoded = [Encoded((0,) * length, (0,), 0) for length in lengths]
    return made


@pytest.mark.parametrize("positions", [1, 100, 300, 10_000])
def test_joined_batches_hold_every_row_once_within_the_budget(positions: int) -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(5, 60, 40).tolist()
    order = np.argsort(lengths).tolist()
    batches = [order[at : at + 4] for at in range(0, 40, 4)]
    generator.shuffle(batches)
    examples = of_lengths(lengths)
    joined = list(examples.joined(batches, positions))
    assert sorted(row for batch in joined for row in batch) == list(range(40))
    for batch in joined:
        size = len(batch) * max(lengths[row] for row in batch)
        assert size <= positions or len(batch) == 4
    if positions == 10_000:
        assert len(joined) == 1
