"""Batches for passes without a gradient: every row once, within the budget."""

from __future__ import annotations

import numpy as np
import pytest

from reward_models.encoding import Encoded
from reward_models.examples import Examples, OneClass
from reward_models.losses import bce, bradley_terry
from tests.reward_models.making import solution


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


def of_labels(labels: list[tuple[float, ...]], problem_ids: list[str] | None = None) -> Examples:
    made = Examples.__new__(Examples)
    made.rows = [solution(number, right=True) for number in range(len(labels))]
    made.labels, made.loss = labels, bce
    made.problem_ids = problem_ids or [f"p{number}" for number in range(len(labels))]
    return made


def test_labels_of_one_side_of_one_half_are_one_class() -> None:
    with pytest.raises(OneClass, match=r"2 labeled solutions with 3 labels, all at least 0\.5"):
        of_labels([(0.5, 1.0), (0.75,)]).require_two_classes()
    with pytest.raises(OneClass, match=r"with 2 labels, all below 0\.5"):
        of_labels([(0.0,), (0.25,)]).require_two_classes()
    of_labels([(0.5,), (0.25,)]).require_two_classes()


def test_balance_weighs_an_end_by_its_label() -> None:
    examples = of_labels([(1.0, 0.5), (0.0,), (0.0, 0.0)])
    assert examples.weights(1, "none", 0) == [[[1.0, 1.0], [1.0], [1.0, 1.0]]]
    # The labels sum to 1.5 of 5: a right end weighs 3.5 / 1.5, one half halfway between.
    right, half = pytest.approx(3.5 / 1.5), pytest.approx((1 + 3.5 / 1.5) / 2)
    assert examples.weights(1, "classes", 0) == [[[right, half], [1.0], [1.0, 1.0]]]


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_has_nothing_to_balance(label: float) -> None:
    assert of_labels([(label,), (label,)]).weights(1, "classes", 0) == [[[1.0], [1.0]]]


def test_heads_see_problems_as_often_as_a_bootstrap_draws_them() -> None:
    names = [f"p{row // 2}" for row in range(400)]
    examples = of_labels([(0.0, 1.0)] * 400, names)
    heads = examples.weights(3, "none", 0)
    for head in heads:
        # All ends of a problem, in all its solutions, are drawn together.
        assert all(head[row] == head[row + 1] for row in range(0, 400, 2))
        assert all(first == second for first, second in head)
        drawn = np.array([head[row][0] for row in range(0, 400, 2)])
        assert set(drawn) >= {0.0, 1.0, 2.0}
        # Poisson(1) has mean and variance 1; five standard errors of the mean are 0.35.
        assert drawn.mean() == pytest.approx(1, abs=0.35)
    assert heads[0] != heads[1]
    assert heads[0] != heads[2]
    assert examples.weights(3, "none", 0) == heads
    assert examples.weights(3, "none", 1) != heads


def test_an_epochs_batches_hold_every_row_once_in_random_order() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(5, 60, 403).tolist()
    examples = of_lengths(lengths)
    examples.labels, examples.loss = [(0.0,)] * 403, bce
    examples.problem_ids = [f"p{row}" for row in range(403)]
    batches = examples.batches(4, np.random.default_rng(1))
    assert sorted(row for batch in batches for row in batch) == list(range(403))
    assert [len(batch) for batch in batches].count(4) == 100
    assert batches == examples.batches(4, np.random.default_rng(1))
    other = examples.batches(4, np.random.default_rng(2))
    # Other rows lie together, and the long ones of a bucket come neither first nor last.
    assert {frozenset(batch) for batch in other} != {frozenset(batch) for batch in batches}
    means = [np.mean([lengths[row] for row in batch]) for batch in batches]
    assert means[:30] not in (sorted(means[:30]), sorted(means[:30], reverse=True))
    for batch in batches:
        assert max(lengths[row] for row in batch) - min(lengths[row] for row in batch) < 10


def test_pairs_lie_in_one_batch_and_the_longer_solution_counts() -> None:
    examples = of_lengths([50, 5, 5, 50, 20, 20, 5, 5])
    examples.labels, examples.loss = [(1.0,), (0.0,)] * 4, bradley_terry
    examples.problem_ids = [f"p{row // 2}" for row in range(8)]
    batches = examples.batches(2, np.random.default_rng(0))
    assert sorted(tuple(sorted(batch)) for batch in batches) == [(0, 1, 2, 3), (4, 5, 6, 7)]
    for batch in batches:
        assert [row % 2 for row in batch] == [0, 1, 0, 1]


@pytest.mark.parametrize(("positions", "sizes"), [(60, [6]), (59, [4, 2]), (23, [2, 2, 2])])
def test_joined_batches_are_counted_by_their_longest_row(positions: int, sizes: list[int]) -> None:
    examples = of_lengths([5, 5, 10, 10, 6, 6])
    joined = list(examples.joined([[2, 3], [0, 1], [4, 5]], positions))
    assert [len(batch) for batch in joined] == sizes
    assert list(examples.joined([], positions)) == []
