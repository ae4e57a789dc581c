"""The gate on faults injected into a reward model's scores, and on models that are no worse."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from reward_models.diagnostics import diagnose
from reward_models.gate import Decision, Margins, SampleSet, decide
from reward_models.model import RewardModel
from reward_models.training import TrainingSettings, train
from tests.reward_models.making import additions, llama, words

Rows = list[tuple[float, ...]]
SIZE = 600
GENERATOR = np.random.default_rng(7)
LABELS = GENERATOR.integers(0, 2, SIZE).astype(float)
PROBLEMS = [f"p{row // 6}" for row in range(SIZE)]
LENGTHS = GENERATOR.integers(5, 200, SIZE)


def rows(values: np.ndarray) -> Rows:
    return [(float(value),) for value in values]


def judge(strength: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, SIZE)
    return 1 / (1 + np.exp(-(strength * (2 * LABELS - 1) + noise)))


OLD = judge(1.5, 1)


def gate(new: np.ndarray, *, frozen: np.ndarray | None = None, **margins: Any) -> Decision:
    sets = [SampleSet("fresh", rows(LABELS), PROBLEMS, rows(OLD), rows(new))]
    if frozen is not None:
        sets.append(
            SampleSet("iteration 1", rows(LABELS), PROBLEMS, rows(OLD), rows(frozen), frozen=True)
        )
    return decide(sets, Margins(**margins))


def test_a_better_model_and_an_equal_one_are_promoted() -> None:
    assert gate(judge(2.0, 2)).promoted
    same = gate(OLD)
    assert same.promoted
    assert all(found.difference == 0 for found in same.comparisons)


def test_scores_without_a_zero_are_compared_by_their_order_alone() -> None:
    moved = 1 / (1 + np.exp(-(np.log(OLD / (1 - OLD)) + 1.5)))
    assert not gate(moved).promoted
    by_order = gate(moved, probabilities=False)
    assert by_order.promoted
    assert [found.figure for found in by_order.comparisons] == ["auroc", "pair_accuracy"]
    assert not gate(1 - OLD, probabilities=False).promoted


def test_figures_are_those_of_the_diagnostics() -> None:
    new = judge(1.8, 3)
    found = diagnose(rows(new), rows(LABELS), PROBLEMS)
    compared = {item.figure: item for item in gate(new).comparisons}
    for figure in ("auroc", "pair_accuracy", "brier", "ece"):
        assert compared[figure].new == pytest.approx(getattr(found, figure))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (1 - OLD, "fresh: auroc went from"),
        (LENGTHS / 200, "fresh: auroc went from"),
        (np.full(SIZE, 0.5), "the new model gives one score to everything"),
        (0.5 + 0.02 * (OLD - 0.5), "fresh: brier went from"),
        (judge(0.5, 4), "fresh: pair_accuracy went from"),
    ],
    ids=["labels flipped", "loves length", "constant", "uncalibrated", "weak"],
)
def test_faults_are_refused_with_a_reason(fault: np.ndarray, reason: str) -> None:
    decision = gate(fault)
    assert not decision.promoted
    assert any(reason in found for found in decision.reasons), decision.reasons


def test_forgetting_is_refused_though_fresh_samples_look_better() -> None:
    decision = gate(judge(3.0, 2), frozen=judge(0.2, 5))
    assert not decision.promoted
    assert len(decision.reasons) == 1
    assert decision.reasons[0].startswith("iteration 1: auroc went from")


def test_a_drop_within_the_margin_is_accepted() -> None:
    slightly = judge(1.35, 1)
    assert not gate(slightly, auroc=0.0).promoted
    assert gate(slightly, auroc=0.2, pair_accuracy=0.2, brier=0.2, ece=0.2).promoted


def test_chance_does_not_refuse() -> None:
    # Equal models on 60 solutions: point differences are large, intervals wider.
    few = slice(0, 60)
    refused = 0
    for seed in range(20):
        sets = [
            SampleSet(
                "f", rows(LABELS[few]), PROBLEMS[few], rows(OLD[few]), rows(judge(1.5, seed)[few])
            )
        ]
        refused += not decide(sets, Margins(auroc=0, pair_accuracy=0, brier=0, ece=0)).promoted
    assert refused <= 5


def test_floor_and_probes_block() -> None:
    assert any("below the floor 0.999" in reason for reason in gate(OLD, floor=0.999).reasons)
    sets = [SampleSet("fresh", rows(LABELS), PROBLEMS, rows(OLD), rows(OLD))]
    decision = decide(sets, Margins(), failed_probes=["empty"])
    assert decision.reasons == ("failed probe: empty",)


def test_one_class_is_undefined_and_does_not_block() -> None:
    ones = rows(np.ones(SIZE))
    decision = decide([SampleSet("fresh", ones, PROBLEMS, rows(OLD), rows(OLD))], Margins())
    assert decision.promoted
    compared = {item.figure: item for item in decision.comparisons}
    assert compared["auroc"].difference is None
    assert compared["brier"].difference == 0
    json.dumps(decision.as_row())


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="needs fresh samples"):
        decide([], Margins())
    short = SampleSet("fresh", rows(LABELS), PROBLEMS, rows(OLD), rows(OLD)[1:])
    with pytest.raises(ValueError, match="599 rows of scores, 600 of labels"):
        decide([short], Margins())


def test_a_real_model_retrained_on_flipped_labels_is_refused() -> None:
    tokenizer = words()
    unseen = additions(200, 2)
    asked = [row.question for row in unseen]
    texts, ends = [row.text for row in unseen], [row.ends for row in unseen]
    model = RewardModel.from_shape(llama(len(tokenizer)), tokenizer)
    train(model, additions(800, 1), settings=TrainingSettings(learning_rate=3e-3, epochs=5))
    old = model.score(asked, texts, ends)
    flipped = [
        dataclasses.replace(row, labels=tuple(1 - label for label in row.labels))
        for row in additions(800, 3)
    ]
    train(model, flipped, settings=TrainingSettings(learning_rate=3e-3, epochs=2))
    new = model.score(asked, texts, ends)
    labels, names = [row.labels for row in unseen], [row.problem_id for row in unseen]
    decision = decide([SampleSet("fresh", labels, names, old, new)], Margins())
    assert not decision.promoted
    assert any("auroc" in reason for reason in decision.reasons)
