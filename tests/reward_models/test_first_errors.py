"""First-error F1 by hand, and against a plain double loop."""

from __future__ import annotations

import numpy as np
import pytest

from reward_models.first_errors import best_threshold, first_errors


def test_by_hand() -> None:
    labels = [(1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 0.0), (1.0, 0.0), (1.0,)]
    scores = [(0.9, 0.8), (0.9, 0.1, 0.9), (0.7, 0.2), (0.9, 0.9), (0.2,)]
    found = first_errors(scores, labels)
    # Wrong solutions: found, named a step too late, missed. Right ones: left alone, accused.
    assert (found.wrong, found.right) == (3, 2)
    assert found.accuracy_wrong == pytest.approx(1 / 3)
    assert found.accuracy_right == pytest.approx(1 / 2)
    assert found.f1 == pytest.approx(2 * (1 / 3) * (1 / 2) / (1 / 3 + 1 / 2))


def test_trivial_judges_score_nothing() -> None:
    labels = [(1.0, 1.0), (1.0, 0.0)]
    assert first_errors([(1.0, 1.0)] * 2, labels).f1 == 0
    assert first_errors([(0.0, 0.0)] * 2, labels).f1 == 0
    assert first_errors(labels, labels).f1 == 1


def test_a_score_at_the_threshold_is_no_error() -> None:
    found = first_errors([(0.5, 0.5), (0.5, 0.4)], [(1.0, 1.0), (1.0, 0.0)])
    assert (found.accuracy_right, found.accuracy_wrong) == (1, 1)


def test_the_threshold_is_of_scores_and_one_half_of_labels() -> None:
    # Soft labels of at least one half are right, whatever the threshold of the scores.
    found = first_errors([(0.9, 0.9)], [(0.6, 0.5)], threshold=0.8)
    assert (found.right, found.wrong, found.accuracy_right) == (1, 0, 1)


@pytest.mark.parametrize(("low", "high", "best"), [(0.01, 0.06, 0.05), (0.94, 0.99, 0.95)])
def test_thresholds_reach_both_ends_of_the_grid(low: float, high: float, best: float) -> None:
    assert best_threshold([(high, high), (high, low)], [(1.0, 1.0), (1.0, 0.0)]) == best


def test_of_equal_thresholds_the_one_nearest_to_one_half_is_taken() -> None:
    labels = [(1.0, 1.0), (1.0, 0.0)]
    assert best_threshold(labels, labels) == 0.5


def test_without_one_kind_it_is_undefined() -> None:
    found = first_errors([(0.9,)], [(1.0,)])
    assert found.f1 is None
    assert found.accuracy_wrong is None
    assert found.accuracy_right == 1


def test_threshold_is_the_best_of_the_grid() -> None:
    generator = np.random.default_rng(0)
    labels, scores = [], []
    for _ in range(300):
        error = int(generator.integers(0, 6))
        label = [float(step < error) for step in range(4)]
        labels.append(tuple(label))
        scores.append(
            tuple(np.clip(0.5 + 0.3 * np.array(label) + generator.normal(0, 0.1, 4), 0, 1))
        )
    best = best_threshold(scores, labels)
    values = [first_errors(scores, labels, threshold=t / 20).f1 or 0 for t in range(1, 20)]
    assert first_errors(scores, labels, threshold=best).f1 == max(values)
    assert 0.55 <= best <= 0.75


def test_unequal_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="row 0: 1 scores for 2 labels"):
        first_errors([(0.5,)], [(1.0, 0.0)])
    with pytest.raises(ValueError, match="row 0: 2 scores for 1 labels"):
        first_errors([(0.5, 0.5)], [(1.0,)])
