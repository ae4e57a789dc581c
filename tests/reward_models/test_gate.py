"""The gate on faults injected into a reward model's scores, and on models that are no worse."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from reward_models.diagnostics import diagnose
from reward_models.gate import CONSTANT, Decision, Margins, SampleSet, admit, decide
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


def test_each_figure_has_a_margin_of_its_own() -> None:
    margins = {"auroc": 0.1, "pair_accuracy": 0.2, "brier": 0.3, "ece": 0.4}
    found = gate(OLD, frozen=OLD, **margins, frozen_auroc=0.5).comparisons
    assert {item.figure: item.margin for item in found if item.samples == "fresh"} == margins
    assert [(item.figure, item.margin) for item in found[4:]] == [("auroc", 0.5)]


def test_margins_are_narrow_unless_given() -> None:
    found = gate(OLD, frozen=OLD).comparisons
    assert [item.margin for item in found] == [0.02, 0.03, 0.02, 0.05, 0.05]


def test_no_floor_is_asked_for_unless_given() -> None:
    sets = [SampleSet("fresh", rows(LABELS), PROBLEMS, rows(1 - OLD), rows(1 - OLD))]
    assert decide(sets, Margins()).promoted


def test_a_figure_at_the_floor_passes() -> None:
    accuracy = next(item.new for item in gate(OLD).comparisons if item.figure == "pair_accuracy")
    assert gate(OLD, floor=accuracy).promoted


def test_the_seed_and_the_number_of_resamples_make_the_interval() -> None:
    sets = [SampleSet("fresh", rows(LABELS), PROBLEMS, rows(OLD), rows(judge(1.6, 2)))]
    found = [
        decide(sets, Margins(), resamples=resamples, seed=seed).comparisons[0]
        for resamples, seed in ((50, 1), (50, 1), (50, 2), (51, 1))
    ]
    assert found[0] == found[1]
    assert len({item.low for item in found}) == 3
    assert len({item.difference for item in found}) == 1


def test_resamples_of_one_class_are_left_out() -> None:
    # Two problems, one all right and one all wrong: half of the resamples hold one class.
    sets = [SampleSet("few", [(1.0,), (0.0,)], ["a", "b"], [(0.6,), (0.4,)], [(0.4,), (0.6,)])]
    for seed in range(5):
        (found, *_) = decide(sets, Margins(), resamples=1, seed=seed).comparisons
        assert (found.difference, found.high) in ((-1, -1), (-1, 0))
        # Without a resample that defines it, there is no interval, and nothing is proven.
        assert found.worse is (found.high == -1)


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


def test_a_first_model_is_admitted_unless_it_is_constant_or_fails_a_probe() -> None:
    assert admit(rows(OLD)).promoted
    assert admit(rows(OLD), failed_probes=["empty"]).reasons == ("failed probe: empty",)
    assert admit(rows(np.full(SIZE, 0.5))).reasons == (CONSTANT,)
    # Scores that differ in their last bits tell a policy nothing either.
    assert admit(rows(0.5 + 1e-9 * OLD)).reasons == (CONSTANT,)
    assert admit([(0.5,)]).promoted


def test_a_constant_model_is_refused_by_past_samples_alone() -> None:
    found = gate(OLD, frozen=np.full(SIZE, 0.5), frozen_auroc=1.0)
    assert found.reasons == (f"iteration 1: {CONSTANT}",)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="needs fresh samples"):
        decide([], Margins())
    old = SampleSet("past", rows(LABELS), PROBLEMS, rows(OLD), rows(OLD), frozen=True)
    with pytest.raises(ValueError, match="needs fresh samples"):
        decide([old], Margins())
    short = SampleSet("fresh", rows(LABELS), PROBLEMS, rows(OLD), rows(OLD)[1:])
    with pytest.raises(ValueError, match="599 rows of scores, 600 of labels"):
        decide([short], Margins())
    raw = SampleSet("fresh", rows(LABELS), PROBLEMS, rows(10 * OLD), rows(OLD))
    with pytest.raises(ValueError, match="is no probability"):
        decide([raw], Margins())


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
