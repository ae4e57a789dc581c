"""The training loop: what it computes, what it refuses, and that it learns."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import SGD

from iterative_grpo import optimizers
from reward_models import training
from reward_models.examples import Examples
from reward_models.losses import bce
from reward_models.model import RewardModel
from reward_models.training import (
    OneClass,
    TrainingProgress,
    TrainingReport,
    TrainingSettings,
    train,
)
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
    model = fresh()
    settings = TrainingSettings(learning_rate=3e-3, epochs=30, evaluations=2, patience=2)
    report = train(model, rows, heldout=opposite(rows), settings=settings)
    assert report.stopped_early
    assert report.steps < 30 * 7
    assert report.heldout_losses[-1] > min(report.heldout_losses)
    kept = train(model, rows, heldout=opposite(rows), settings=settings)
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


def test_every_step_is_a_step_on_its_own_batch() -> None:
    rows = additions(12, 3, steps=True)
    model, plain = fresh(), fresh()
    settings = TrainingSettings(
        learning_rate=1e-3, batch_size=4, epochs=2, warmup=0, decay=0, max_grad_norm=0.5, seed=5
    )
    seen: list[TrainingProgress] = []
    report = train(model, rows, settings=settings, progress=seen.append)
    data = Examples(plain, rows, bce)
    generator = np.random.default_rng(5)
    optimizer = torch.optim.AdamW(
        plain.model.parameters(), lr=1e-3, weight_decay=0.0, betas=(0.9, 0.95)
    )
    losses = []
    for batch in [batch for _ in range(2) for batch in data.batches(4, generator)]:
        chosen = [data.encoded[row] for row in batch]
        logits_N = plain.read(plain.model, chosen)[:, 0]
        labels_N = torch.tensor([label for row in batch for label in rows[row].labels])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits_N, labels_N)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.model.parameters(), 0.5)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert [now.loss for now in seen] == pytest.approx(losses, abs=1e-4)
    assert [now.epoch for now in seen] == [1, 1, 1, 2, 2, 2]
    assert report.losses == pytest.approx((np.mean(losses[:3]), np.mean(losses[3:])), abs=1e-4)
    assert report.kept_step == report.steps == 6


def test_gradients_are_clipped() -> None:
    model, untouched = fresh(), fresh()
    train(model, additions(40, 1), settings=TrainingSettings(max_grad_norm=1e-12))
    for ours, theirs in zip(model.model.parameters(), untouched.model.parameters(), strict=True):
        # Adam divides by the gradient's size plus 1e-8: so small a gradient moves next to nothing.
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("warmup", "decay"), [(0.25, 0.5), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_rates_warm_up_stay_and_fall(warmup: float, decay: float) -> None:
    seen: list[TrainingProgress] = []
    settings = TrainingSettings(learning_rate=0.01, batch_size=4, warmup=warmup, decay=decay)
    train(fresh(), additions(32, 1), settings=settings, progress=seen.append)
    wanted = {
        (0.25, 0.5): [1 / 2, 1, 1, 1, 1, 3 / 4, 2 / 4, 1 / 4],
        (0.0, 1.0): [8 / 8, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8],
        (1.0, 0.0): [1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 8 / 8],
        (0.0, 0.0): [1] * 8,
    }[warmup, decay]
    assert [now.learning_rate / 0.01 for now in seen] == pytest.approx(wanted)


@pytest.mark.parametrize(
    "change",
    [{"weight_decay": 0.5}, {"muon_learning_rate": 0.002}, {"learning_rate": 1e-4}],
    ids=str,
)
def test_each_rate_reaches_the_optimizer(change: dict[str, float]) -> None:
    def trained(**change: Any) -> dict[str, torch.Tensor]:
        model = fresh()
        settings = TrainingSettings(optimizer="muon", batch_size=10, **change)
        train(model, additions(20, 1), settings=settings)
        return dict(model.model.named_parameters())

    plain, changed = trained(), trained(**change)
    moved = {name for name in plain if not torch.equal(plain[name], changed[name])}
    matrices = {name for name in plain if name.endswith("_proj.weight")}
    if "muon_learning_rate" in change:
        assert moved >= matrices
    assert moved


def opposite(rows: list[LabeledSolution]) -> list[LabeledSolution]:
    return [
        dataclasses.replace(row, labels=tuple(1 - label for label in row.labels)) for row in rows
    ]


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_after_so_many_measurements_without_a_new_best(patience: int) -> None:
    rows = additions(200, 1)
    model, untouched = fresh(), fresh()
    seen: list[TrainingProgress] = []
    settings = TrainingSettings(
        learning_rate=3e-3, epochs=30, evaluations=2, patience=patience, warmup=0, decay=0
    )
    report = train(model, rows, heldout=opposite(rows), settings=settings, progress=seen.append)
    # Seven batches an epoch are measured after the fourth and the last, and once before all.
    assert len(report.heldout_losses) == patience + 1
    assert report.steps == {1: 4, 3: 11}[patience]
    assert (report.kept_step, report.stopped_early) == (0, True)
    assert report.losses[-1] == pytest.approx(
        np.mean([now.loss for now in seen if now.epoch == len(report.losses)])
    )
    for ours, theirs in zip(model.model.parameters(), untouched.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("loss", ["bce", "bradley_terry"])
def test_pieces_of_a_batch_train_as_the_whole(
    loss: str, heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = words()
    rows = additions(40, 1, steps=True)
    found: dict[int, tuple[TrainingReport, dict[str, torch.Tensor], list[int]]] = {}
    for piece in (4_096, 70):
        monkeypatch.setattr(training, "PIECE", piece)
        model = RewardModel.from_shape(llama(len(tokenizer)), tokenizer, heads=heads)
        model.model.double()
        read, sizes = model.read, list[int]()

        def watched(*given: Any, read: Any = read, sizes: list[int] = sizes) -> torch.Tensor:
            lengths = [len(row.token_ids) for row in given[1]]
            sizes.append(max(lengths) * len(lengths))
            return read(*given)

        monkeypatch.setattr(model, "read", watched)
        # A plain step: Adam's would divide by gradients that are rounding alone.
        settings = TrainingSettings(
            batch_size=16, loss=loss, balance="classes", learning_rate=0.1, max_grad_norm=0.1
        )
        monkeypatch.setattr(optimizers, "build", lambda model, lr, **_: SGD(model.parameters(), lr))
        report = train(model, rows, settings=settings)
        found[piece] = report, model.model.state_dict(), sizes
    (whole, weights, sizes), (parts, others, small) = found.values()
    assert whole.losses == pytest.approx(parts.losses, rel=1e-6)
    assert len(small) > 2 * len(sizes)
    assert max(small) <= 70 < min(sizes)
    for name, weight in weights.items():
        assert torch.allclose(weight, others[name], rtol=1e-6, atol=1e-8), name


@pytest.mark.parametrize("steps", [False, True])
def test_bfloat16_is_for_products_of_training_alone(steps: bool) -> None:
    rows, held = additions(64, 1, steps=steps), additions(16, 2, steps=steps)
    found = []
    for bf16, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        model = fresh()
        used: set[torch.dtype] = set()
        for name, layer in model.model.named_modules():
            if name.endswith(("gate_proj", "k_proj")):
                layer.register_forward_hook(lambda _, __, y, used=used: used.add(y.dtype))
        settings = TrainingSettings(batch_size=16, bf16=bf16)
        report = train(model, rows, settings=settings, heldout=held)
        found.append([*report.losses, *report.heldout_losses])
        assert used == {dtype}
        assert {weight.dtype for weight in model.model.parameters()} == {torch.float32}
        used.clear()
        model.score([rows[0].question], [rows[0].text], [rows[0].ends])
        assert used == {torch.float32}
    assert found[0] != found[1]
    assert found[0] == pytest.approx(found[1], rel=0.01)


def test_heldout_loss_is_measured_as_often_as_asked() -> None:
    rows = additions(56, 1)
    for evaluations, measured in ((1, 2), (2, 3), (3, 4), (7, 8), (9, 8)):
        settings = TrainingSettings(batch_size=8, evaluations=evaluations, patience=99)
        report = train(fresh(), rows, heldout=rows[:8], settings=settings)
        assert len(report.heldout_losses) == measured
        best = int(np.argmin(report.heldout_losses))
        gap = math.ceil(7 / evaluations)
        assert report.kept_step == min(best * gap, 7)


@pytest.mark.parametrize("balance", ["none", "classes"])
def test_heldout_loss_is_the_mean_of_all_heads_and_ends(
    balance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several passes, as of more rows than one can read.
    monkeypatch.setattr("reward_models.model.TOKENS_PER_BATCH", 300)
    tokenizer = words()
    model = RewardModel.from_shape(llama(len(tokenizer)), tokenizer, heads=3)
    held = additions(70, 2, steps=True)
    logits = model.head_logits(
        [row.question for row in held], [row.text for row in held], [row.ends for row in held]
    )
    right = sum(label for row in held for label in row.labels)
    tilt = (140 - right) / right if balance == "classes" else 1.0
    total = weight = 0.0
    for row, ends in zip(held, logits, strict=True):
        for label, heads in zip(row.labels, ends, strict=True):
            for z in heads:
                own = 1 + (tilt - 1) * label
                total += own * (math.log1p(math.exp(-z)) if label else math.log1p(math.exp(z)))
                weight += own
    settings = TrainingSettings(balance=balance, batch_size=8)
    report = train(model, additions(16, 1, steps=True), heldout=held, settings=settings)
    assert report.heldout_losses[0] == pytest.approx(total / weight, rel=1e-5)


def test_dropout_is_of_training_alone() -> None:
    def losses(dropout: float) -> tuple[float, ...]:
        tokenizer = words()
        shape = llama(len(tokenizer))
        shape.attention_dropout = dropout
        model = RewardModel.from_shape(shape, tokenizer)
        rows = additions(16, 1)
        torch.manual_seed(0)
        settings = TrainingSettings(learning_rate=1e-12, batch_size=8, epochs=2, patience=9)
        report = train(model, rows, heldout=rows, settings=settings)
        return report.heldout_losses[0], *report.losses

    (held, *trained), (held_dropped, *dropped) = losses(0.0), losses(0.5)
    assert held_dropped == held
    # In every epoch, also after a measurement; weights stay where they are.
    assert trained[0] == pytest.approx(trained[1], abs=1e-6)
    assert all(abs(one - other) > 1e-5 for one, other in zip(trained, dropped, strict=True))


def test_epochs_mix_batches_anew() -> None:
    seen: list[TrainingProgress] = []
    settings = TrainingSettings(learning_rate=1e-12, batch_size=4, epochs=2)
    train(fresh(), additions(40, 1), settings=settings, progress=seen.append)
    first, second = (sorted(now.loss for now in seen if now.epoch == k) for k in (1, 2))
    assert first != pytest.approx(second, abs=1e-6)


def test_the_report_describes_the_rows() -> None:
    rows = [
        dataclasses.replace(row, labels=(0.25, 0.75 if row.correct else 0.5), correct=False)
        for row in additions(20, 1, steps=True)
    ]
    rows += [dataclasses.replace(row, labels=(0.25, 0.25)) for row in additions(20, 2, steps=True)]
    report = train(fresh(), rows, settings=TrainingSettings())
    assert (report.rows, report.ends) == (40, 80)
    assert report.positive_share == 0.5
    labels = [label for row in rows for label in row.labels]
    assert report.mean_label == pytest.approx(sum(labels) / 80)
    lengths = [
        len(encoded.token_ids)
        for encoded in fresh().encode(
            [row.question for row in rows], [row.text for row in rows], [row.ends for row in rows]
        )
    ]
    assert len(set(lengths)) == 1
    assert report.padding == 0


def test_padding_is_the_share_of_positions_that_training_padded() -> None:
    texts = ["1+1=2\n", "1+1=2\n" * 3]
    rows = [solution(1, right=k == 0, text=text) for k, text in enumerate(texts)]
    model = fresh()
    short, long = (
        len(row.token_ids)
        for row in model.encode([row.question for row in rows], texts, [row.ends for row in rows])
    )
    # Held-out rows are all long: their reading does not count.
    report = train(model, rows, heldout=[rows[1]], settings=TrainingSettings(epochs=2))
    assert report.padding == pytest.approx((long - short) / (2 * long))


def test_a_loss_that_is_no_number_ends_training() -> None:
    for broken in (float("nan"), float("inf")):
        model = fresh()
        with torch.no_grad():
            model.model.score.bias.fill_(broken)
        with pytest.raises(FloatingPointError, match="training loss is"):
            train(model, additions(8, 1), settings=TrainingSettings())


def test_heldout_pairs_are_needed_for_the_pairwise_loss() -> None:
    alone = [solution(number, right=number % 2 == 0) for number in range(4)]
    with pytest.raises(OneClass, match="the 4 held-out rows hold no pair"):
        train(
            fresh(),
            additions(40, 1),
            heldout=alone,
            settings=TrainingSettings(loss="bradley_terry"),
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patience": 0}, "patience is 0, must be at least 1"),
        ({"evaluations": 0}, "evaluations is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"warmup": 0.6, "decay": 0.6}, "add up to at most 1"),
        ({"warmup": -0.1}, "warmup -0.1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**change)


def ensemble(heads: int) -> RewardModel:
    tokenizer = words()
    return RewardModel.from_shape(llama(len(tokenizer)), tokenizer, heads=heads)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_of_an_ensemble_is_the_mean_over_heads_of_their_own_problems(seed: int) -> None:
    model, rows = ensemble(3), additions(16, 1, steps=True)
    logits = model.head_logits(
        [row.question for row in rows], [row.text for row in rows], [row.ends for row in rows]
    )
    expected = []
    for head, weights in enumerate(Examples(model, rows, bce).weights(3, "none", seed)):
        total = sum(
            w * (math.log1p(math.exp(-ends[head])) if label else math.log1p(math.exp(ends[head])))
            for row, own, found in zip(rows, weights, logits, strict=True)
            for label, w, ends in zip(row.labels, own, found, strict=True)
        )
        expected.append(total / sum(map(sum, weights)))
    report = train(model, rows, settings=TrainingSettings(batch_size=16, seed=seed))
    assert report.losses == (pytest.approx(np.mean(expected), rel=1e-5),)


def test_a_head_whose_problems_were_not_drawn_learns_nothing() -> None:
    rows = [dataclasses.replace(row, problem_id="one") for row in additions(8, 1)]
    seen = set()
    for seed in range(12):
        model, untouched = ensemble(2), ensemble(2)
        train(model, rows, settings=TrainingSettings(seed=seed))
        drawn = Examples(model, rows, bce).weights(2, "none", seed)
        heads = tuple(head[0][0] > 0 for head in drawn)
        seen.add(heads)
        moved = model.model.score.weight != untouched.model.score.weight
        assert tuple(moved.any(dim=1).tolist()) == heads
    assert {(False, True), (True, False), (True, True)} <= seen
