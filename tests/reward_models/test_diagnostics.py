"""Figures against sklearn and against loops written out."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from reward_models.diagnostics import POSITIONS, diagnose

Rows = list[tuple[float, ...]]


def sample(rows: int, steps: int = 1, seed: int = 0) -> tuple[Rows, Rows, list[str]]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, (rows, steps)).astype(float)
    scores = np.clip(0.5 + 0.25 * (labels - 0.5) + generator.normal(0, 0.2, labels.shape), 0, 1)
    scores = scores.round(2)
    problems = [f"p{row // 4}" for row in range(rows)]
    return [tuple(r) for r in scores.tolist()], [tuple(r) for r in labels.tolist()], problems


def test_equals_sklearn_on_all_ends() -> None:
    scores, labels, problems = sample(200, steps=3)
    found = diagnose(scores, labels, problems)
    s, y = np.ravel(scores), np.ravel(labels)
    assert found.auroc == pytest.approx(roc_auc_score(y, s))
    assert found.average_precision == pytest.approx(average_precision_score(y, s))
    assert found.brier == pytest.approx(brier_score_loss(y, s))
    assert found.accuracy == pytest.approx(np.mean((s >= 0.5) == (y == 1)))
    assert found.outcome_auroc == pytest.approx(
        roc_auc_score([r[-1] for r in labels], [r[-1] for r in scores])
    )
    assert (found.rows, found.ends, found.problems) == (200, 600, 50)


def test_reliability_equals_sklearns_curve() -> None:
    # Off the bins' edges, where conventions differ.
    scores, labels, problems = sample(500)
    scores = [(min(score * 0.98 + 0.003, 1.0),) for (score,) in scores]
    found = diagnose(scores, labels, problems)
    truth, predicted = calibration_curve(np.ravel(labels), np.ravel(scores), n_bins=10)
    assert [bar.mean_label for bar in found.bins] == pytest.approx(truth.tolist())
    assert [bar.mean_score for bar in found.bins] == pytest.approx(predicted.tolist())
    sizes = np.array([bar.ends for bar in found.bins])
    assert sizes.sum() == 500
    assert found.ece == pytest.approx(float(np.sum(sizes * np.abs(truth - predicted)) / 500))


def test_a_score_of_one_lies_in_the_last_bin() -> None:
    found = diagnose([(1.0,), (0.95,), (0.0,)], [(1.0,), (1.0,), (0.0,)], ["a", "b", "c"])
    assert [(bar.low, bar.high, bar.ends) for bar in found.bins] == [(0.0, 0.1, 1), (0.9, 1.0, 2)]


def test_pair_accuracy_is_the_double_loop_within_problems() -> None:
    scores, labels, problems = sample(80)
    right = pairs = 0.0
    for a, b in itertools.permutations(range(80), 2):
        if problems[a] == problems[b] and labels[a][0] > labels[b][0]:
            pairs += 1
            right += 1.0 if scores[a] > scores[b] else 0.5 if scores[a] == scores[b] else 0.0
    found = diagnose(scores, labels, problems)
    assert found.pairs == pairs
    assert found.pair_accuracy == pytest.approx(right / pairs)


def test_rank_correlation_is_kendalls_tau_b() -> None:
    generator = np.random.default_rng(1)
    scores: Rows = [(float(x),) for x in generator.integers(0, 6, 40) / 6]
    labels: Rows = [(float(x),) for x in generator.integers(0, 4, 40) / 4]
    problems = [f"p{row // 8}" for row in range(40)]
    taus = [
        kendalltau(np.ravel(scores)[i : i + 8], np.ravel(labels)[i : i + 8]).statistic
        for i in range(0, 40, 8)
    ]
    assert diagnose(scores, labels, problems).rank_correlation == pytest.approx(np.mean(taus))


def test_pairs_are_never_between_problems() -> None:
    # Perfect between problems, inverted within.
    scores: Rows = [(0.1,), (0.2,), (0.8,), (0.9,)]
    labels: Rows = [(1.0,), (0.0,), (1.0,), (0.0,)]
    found = diagnose(scores, labels, ["a", "a", "b", "b"])
    assert found.pair_accuracy == 0.0
    assert found.rank_correlation == -1.0
    assert found.auroc == 0.25


def test_positions() -> None:
    scores: Rows = [(0.9, 0.2), (0.4, 0.8), (0.3,)]
    labels: Rows = [(1.0, 0.0), (0.0, 1.0), (0.0,)]
    first, second = diagnose(scores, labels, ["a", "b", "c"]).positions
    assert (first.step, first.ends, first.positive_share) == (1, 3, pytest.approx(1 / 3))
    assert first.mean_score == pytest.approx((0.9 + 0.4 + 0.3) / 3)
    assert (first.auroc, second.auroc, second.ends) == (1.0, 1.0, 2)
    endless = diagnose([(0.5,) * 900], [(1.0,) * 900], ["a"]).positions
    assert [it.step for it in endless] == list(range(1, POSITIONS + 1))


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_is_undefined_not_a_half(label: float) -> None:
    found = diagnose([(0.2,), (0.9,)], [(label,), (label,)], ["a", "a"])
    assert found.auroc is None
    assert found.average_precision is None
    assert found.pair_accuracy is None
    assert found.rank_correlation is None
    assert found.brier >= 0
    assert json.loads(json.dumps(found.as_row()))["auroc"] is None


def test_constant_scores_order_nothing() -> None:
    found = diagnose([(0.5,)] * 4, [(1.0,), (0.0,)] * 2, ["a", "a", "b", "b"])
    assert found.auroc == 0.5
    assert found.pair_accuracy == 0.5
    assert found.rank_correlation is None


def test_soft_labels_count_for_calibration() -> None:
    found = diagnose([(0.25,), (0.75,)], [(0.25,), (0.75,)], ["a", "b"])
    assert found.brier == 0
    assert found.ece == 0
    assert found.auroc == 1.0


def test_one_half_is_right() -> None:
    scores: Rows = [(0.5,), (0.4,)]
    labels: Rows = [(0.5,), (0.0,)]
    found = diagnose(scores, labels, ["a", "a"])
    assert (found.positive_share, found.accuracy) == (0.5, 1.0)
    assert (found.auroc, found.outcome_auroc, found.average_precision) == (1.0, 1.0, 1.0)
    assert (found.pair_accuracy, found.pairs) == (1.0, 1)
    assert found.positions[0].positive_share == 0.5
    assert found.positions[0].auroc == 1.0


def test_solutions_are_judged_by_their_last_ends() -> None:
    found = diagnose([(0.1, 0.9), (0.8, 0.2)], [(0.0, 1.0), (1.0, 0.0)], ["a", "a"])
    assert (found.outcome_auroc, found.pair_accuracy, found.rank_correlation) == (1.0, 1.0, 1.0)
    soft = diagnose([(0.2, 0.4, 0.9)], [(0.0, 0.5, 0.75)], ["a"])
    assert (soft.score_mean, soft.truth_mean) == (0.9, 0.75)
    assert soft.positive_share == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("scores", "labels", "problems", "message"),
    [
        ([], [], [], "no solutions"),
        ([(0.5,)], [(1.0,), (0.0,)], ["a"], "1 rows of scores, 2 of labels"),
        ([(0.5,)], [(1.0,)], ["a", "b"], "1 of labels, 2 problem ids"),
        ([(0.5, 0.5)], [(1.0,)], ["a"], r"row 0 \(a\): 2 scores for 1 labels"),
        ([(1.5,)], [(1.0,)], ["a"], "score 1.5 is no probability"),
        ([(float("nan"),)], [(1.0,)], ["a"], "score nan is no probability"),
        ([()], [()], ["a"], "an end at least"),
    ],
)
def test_rows_that_cannot_be_compared(
    scores: Rows, labels: Rows, problems: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        diagnose(scores, labels, problems)
