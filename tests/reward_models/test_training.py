"""The training loop: what it computes, what it refuses, and that it learns."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from reward_models.model import RewardModel
from reward_models.training import OneClass, TrainingProgress, TrainingSettings, train
from reward_models.types import LabeledSolution
from tests.reward_models.making import additions, llama, solution, words


def fresh(seed: int = 0) -> RewardModel:
    tokenizer = words()
    return RewardModel.from_shape(llama(len(tokenizer)), tokenizer, seed=seed)


def pair_accuracy(model: RewardModel, rows: list[LabeledSolution]) -> float:
    scores = model.score(
        [row.question for row in rows], [row.text for row in rows], [row.ends for row in rows]
    )
    right = [s[-1] for s, row in zip(scores, rows, strict=True) if row.positive]
    wrong = [s[-1] for s, row in zip(scores, rows, strict=True) if not row.positive]
    return sum(r > w for r in right for w in wrong) / (len(right) * len(wrong))


@pytest.mark.parametrize(("steps", "optimizer"), [(False, "adamw"), (True, "muon")])
def test_learns_what_can_be_learned(steps: bool, optimizer: str) -> None:
    rows, unseen = additions(1200, 1, steps=steps), additions(200, 2, steps=steps)
    model = fresh()
    before = pair_accuracy(model, unseen)
    settings = TrainingSettings(learning_rate=3e-3, epochs=8, optimizer=optimizer)
    report = train(model, rows, settings=settings)
    assert before < 0.7
    assert pair_accuracy(model, unseen) > 0.95
    assert report.losses[-1] < report.losses[0]
    assert report.rows == 1200
    assert report.ends == 1200 * (1 + steps)
    assert not model.model.training


def test_first_step_equals_a_plain_gradient_step() -> None:
    rows = additions(8, 3, steps=True)
    model, plain = fresh(), fresh()
    settings = TrainingSettings(
        learning_rate=1e-3, batch_size=8, warmup=0, decay=0, max_grad_norm=1e9
    )
    report = train(model, rows, settings=settings)
    # The same step written out: mean over all ends of -[y log s + (1-y) log(1-s)].
    optimizer = torch.optim.AdamW(
        plain.model.parameters(), lr=1e-3, weight_decay=0.0, betas=(0.9, 0.95)
    )
    terms = []
    for row in rows:
        ids = plain.tokenizer(row.question + "\n")["input_ids"]
        for end, label in zip(row.ends, row.labels, strict=True):
            prefix = ids + plain.tokenizer(row.text[:end], add_special_tokens=False)["input_ids"]
            z = plain.model(torch.tensor([prefix])).logits[0, -1, 0]
            s = torch.sigmoid(z)
            terms.append(-(label * torch.log(s) + (1 - label) * torch.log(1 - s)))
    loss = torch.stack(terms).mean()
    loss.backward()
    optimizer.step()
    assert report.losses == (pytest.approx(float(loss.detach()), abs=1e-6),)
    for (name, ours), theirs in zip(
        model.model.named_parameters(), plain.model.parameters(), strict=True
    ):
        # Adam's first step is the gradient's sign: where the gradient is near zero it may differ.
        clear = theirs.grad.abs() > 1e-5
        assert torch.allclose(ours[clear], theirs[clear], atol=1e-6), name


def test_soft_labels_pull_scores_to_their_value() -> None:
    rows = []
    for index in range(64):
        row = solution(index % 8, right=True, text="#### 1" if index % 2 else "#### 2")
        rows.append(dataclasses.replace(row, labels=(0.75 if index % 2 else 0.25,)))
    model = fresh()
    train(model, rows, settings=TrainingSettings(learning_rate=3e-3, epochs=20, batch_size=16))
    scores = model.score(["3 and 1?"] * 2, ["#### 1", "#### 2"], [(6,), (6,)])
    assert scores[0][0] == pytest.approx(0.75, abs=0.05)
    assert scores[1][0] == pytest.approx(0.25, abs=0.05)


def test_pairwise_orders_solutions_of_a_problem() -> None:
    rows, unseen = additions(1200, 1), additions(200, 2)
    model = fresh()
    settings = TrainingSettings(loss="bradley_terry", learning_rate=3e-3, epochs=8, batch_size=16)
    train(model, rows, settings=settings)
    assert pair_accuracy(model, unseen) > 0.9


def test_same_seed_same_weights_other_seed_other_order() -> None:
    def trained(seed: int) -> torch.Tensor:
        model = fresh()
        train(model, additions(100, 1), settings=TrainingSettings(seed=seed))
        weight: torch.Tensor = model.model.score.weight
        return weight

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_early_stopping_keeps_the_best_weights() -> None:
    # Held-out labels are the opposite: every step makes them worse, the start is the best.
    rows = additions(200, 1)
    opposite = [
        dataclasses.replace(row, labels=tuple(1 - label for label in row.labels)) for row in rows
    ]
    model = fresh()
    settings = TrainingSettings(learning_rate=3e-3, epochs=30, evaluations=2, patience=2)
    report = train(model, rows, heldout=opposite, settings=settings)
    assert report.stopped_early
    assert report.steps < 30 * 7
    assert report.heldout_losses[-1] > min(report.heldout_losses)
    kept = train(model, rows, heldout=opposite, settings=settings)
    assert kept.heldout_losses[0] == pytest.approx(min(report.heldout_losses), abs=1e-6)


def test_balancing_lets_both_classes_weigh_the_same() -> None:
    # One right solution in five and nothing to tell them by: the score is the classes' share.
    rows = [
        dataclasses.replace(solution(3, right=number % 5 == 0, text="#### 1"), iteration=number)
        for number in range(200)
    ]

    def score(balance: str) -> float:
        model = fresh()
        settings = TrainingSettings(balance=balance, learning_rate=3e-3, epochs=10)
        train(model, rows, settings=settings)
        return model.score(["3 and 1?"], ["#### 1"], [(6,)])[0][0]

    assert score("none") == pytest.approx(0.2, abs=0.05)
    assert score("classes") == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("right", [True, False])
def test_balancing_takes_validation_rows_of_one_class_as_they_are(right: bool) -> None:
    alike = [solution(number, right=right) for number in range(3)]
    settings = TrainingSettings(balance="classes", epochs=1)
    report = train(fresh(), additions(60, 1), heldout=alike, settings=settings)
    assert all(math.isfinite(loss) and loss > 0 for loss in report.heldout_losses)


def test_progress_counts_every_step() -> None:
    seen: list[TrainingProgress] = []
    report = train(
        fresh(), additions(100, 1), settings=TrainingSettings(epochs=2), progress=seen.append
    )
    assert [now.step for now in seen] == list(range(1, report.steps + 1))
    assert {now.steps for now in seen} == {report.steps}
    assert report.steps == 2 * 4
    assert seen[-1].learning_rate < seen[4].learning_rate


def test_length_buckets_leave_little_padding() -> None:
    rows = [
        solution(number, right=number % 2 == 0, text="1+1=2\n" * (1 + number % 9))
        for number in range(600)
    ]
    report = train(fresh(), rows, settings=TrainingSettings(batch_size=16))
    assert report.padding < 0.05


@pytest.mark.parametrize("right", [True, False])
def test_one_class_is_refused(right: bool) -> None:
    rows = [solution(number, right=right) for number in range(10)]
    with pytest.raises(OneClass, match="10 labeled solutions with 10 labels, all"):
        train(fresh(), rows, settings=TrainingSettings())


def test_pairs_are_needed_for_the_pairwise_loss() -> None:
    rows = [solution(number, right=number % 2 == 0) for number in range(10)]
    with pytest.raises(OneClass, match="none of 10 problems"):
        train(fresh(), rows, settings=TrainingSettings(loss="bradley_terry"))


def test_wrong_settings_are_named_together() -> None:
    with pytest.raises(ValueError, match=r"learning_rate is 0.*epochs is 0.*balance is 'both'"):
        TrainingSettings(learning_rate=0, epochs=0, balance="both")
    with pytest.raises(ValueError, match=r"unknown reward-model loss 'bse'.*'bce'"):
        TrainingSettings(loss="bse")


def test_text_beyond_the_context_is_refused_before_a_step() -> None:
    rows = [*additions(10, 1), solution(1, right=True, text="1+1=2\n" * 40)]
    model, untouched = fresh(), fresh()
    with pytest.raises(ValueError, match="the reward model reads 128"):
        train(model, rows, settings=TrainingSettings())
    assert torch.equal(model.model.score.weight, untouched.model.score.weight)
