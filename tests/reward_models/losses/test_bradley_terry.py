"""Pairs of one problem, and their loss against the double loop written out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from reward_models.losses.bradley_terry import items, total, weight


def pairs(
    labels: Sequence[tuple[float, ...]], problem_ids: list[str], seed: int = 0
) -> list[list[int]]:
    return [list(pair) for pair in items(labels, problem_ids, np.random.default_rng(seed))]


def test_pairs_are_of_one_problem_with_the_better_first() -> None:
    labels = [(1.0,), (0.0,), (0.0,), (1.0,), (1.0,), (1.0,)]
    found = pairs(labels, ["a", "a", "b", "b", "c", "c"])
    assert sorted(found) == [[0, 1], [3, 2]]


def test_the_larger_side_is_met_once_and_the_smaller_side_repeats() -> None:
    labels = [(1.0,)] * 2 + [(0.0,)] * 5
    found = pairs(labels, ["a"] * 7)
    assert sorted(worse for _, worse in found) == [2, 3, 4, 5, 6]
    assert sorted(Counter(better for better, _ in found).values()) == [2, 3]
    drawn = {tuple(map(tuple, pairs(labels, ["a"] * 7, seed))) for seed in range(8)}
    # Both sides are shuffled: who repeats, and who meets whom.
    assert len({Counter(better for better, _ in each).most_common()[0][0] for each in drawn}) == 2
    assert len({tuple(worse for _, worse in each) for each in drawn}) > 1


def test_last_labels_make_the_sides_and_must_differ_by_one_half() -> None:
    # The labels before the last say the contrary.
    assert pairs([(0.0, 1.0), (1.0, 0.0)], ["a", "a"]) == [[0, 1]]
    assert pairs([(0.5,), (0.0,)], ["a", "a"]) == [[0, 1]]
    assert pairs([(0.75,), (0.25,)], ["a", "a"]) == [[0, 1]]
    assert pairs([(0.625,), (0.25,)], ["a", "a"]) == []


def test_the_loss_is_the_mean_over_ordered_ends_summed_over_pairs() -> None:
    sizes = [2, 3, 1, 1]
    logits = [[0.5, 1.0], [0.2, -0.4, 0.9], [0.1], [2.0]]
    labels = [[0.5, 1.0], [0.75, 0.0, 0.5], [1.0], [0.0]]
    weights = [[2.0, 2.0], [1.0, 1.0, 1.0], [3.0], [1.0]]
    expected = 0.0
    for a in (0, 2):
        losses = [
            math.log(1 + math.exp(-(z - other_z)))
            for z, y in zip(logits[a], labels[a], strict=True)
            for other_z, other_y in zip(logits[a + 1], labels[a + 1], strict=True)
            if y - other_y >= 0.5
        ]
        expected += weights[a][0] * sum(losses) / len(losses)
    flat = [torch.tensor([x for row in rows for x in row]) for rows in (logits, labels, weights)]
    assert float(total(flat[0], flat[1], sizes, flat[2])) == pytest.approx(expected, rel=1e-6)
    assert weight(sizes, flat[2]) == 5.0
