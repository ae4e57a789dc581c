"""The retrain phase end to end on tiny models: measured, decided, reversible, and hard to fool."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.utils import parameters_to_vector
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    LlamaForCausalLM,
)

from pipelines import dividing, metrics
from pipelines.phases import evaluate, retrain
from pipelines.phases.label import divide
from pipelines.phases.retrain import UnfitRewardModel
from reward_models import calibration
from reward_models.division import HeldOutQuestion, Part
from reward_models.encoding import UnfitTokenizer
from reward_models.examples import OneClass
from reward_models.history import BrokenHistory, index_path, write_labels
from reward_models.leaks import LeakedQuestion
from reward_models.measuring import Scored, score
from reward_models.model import RewardModel
from reward_models.replay import Mixture
from reward_models.types import (
    BrokenLabels,
    LabelCost,
    LabeledSolution,
    read_solutions,
)
from tests.pipelines.phases.retraining import Phases, relabeled, solution, solutions
from tests.reward_models.making import llama, words


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Phases:
    """A run after its first retraining; the reward model is good."""
    phases = Phases(tmp_path_factory.mktemp("first"))
    phases.label()
    found = phases.retrain()
    assert found["after"]["outcome_auroc"] > 0.95
    return phases


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def kept_the_old(phases: Phases) -> bool:
    old, new = phases.models[-2:]
    return weights(new / "model") == weights(old / "model")


def test_a_first_model_is_measured_and_probed(trained: Phases) -> None:
    found = json.loads((trained.models[0] / "diagnostics.json").read_text())
    after = found["after"]
    held = list(read_solutions(trained.labels[0] / "heldout.jsonl"))
    assert found["heldout_rows"] == after["rows"] == len(held) > 100
    assert [position["step"] for position in after["positions"]] == [1, 2]
    assert [best["n"] for best in after["best_of"]] == [2, 4, 8]
    for best in after["best_of"]:
        figures = best["best_of_n"]
        assert figures["low"] <= figures["value"] <= figures["high"]
        assert figures["value"] <= best["pass_at_n"]["value"] + 1e-9
    assert after["best_of"][1]["gain"]["low"] > 0  # a good judge beats the vote
    assert after["bias"]["score_right"] > after["bias"]["score_wrong"]
    assert found["frozen"] == {"after": None}
    assert found["gate"]["promoted"]
    assert "empty" in [result["name"] for result in found["probes"]["results"]]


def test_parts_stay_apart_over_iterations_and_replay(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path, "reward_model.replay.share=0.5")
    phases.label()
    phases.label()
    asked = {
        part: {
            row.question
            for folder in phases.labels
            for row in read_solutions(folder / f"{part.value}.jsonl")
        }
        for part in Part
    }
    assert all(asked.values())
    assert len(set.union(*asked.values())) == sum(map(len, asked.values()))
    mixture = retrain.mixture_of(phases.job(tmp_path))
    assert {row.iteration for row in mixture.rows} == {1, 2, 3}
    assert {row.question for row in mixture.rows} <= asked[Part.LABELS]


def test_past_samples_are_a_fixed_number(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path, "reward_model.frozen_rows=40")
    for _ in range(3):
        phases.label()
    samples = retrain.samples_of(phases.job(tmp_path))
    assert len(samples.frozen) == 40
    iterations = [row.iteration for row in samples.frozen]
    assert {iterations.count(k) for k in (1, 2, 3)} <= {13, 14}
    assert sum(row.positive for row in samples.frozen) == 20
    draw = random.Random(0)
    scores = [tuple(draw.random() for _ in row.ends) for row in samples.frozen]
    found = Scored(samples, [], scores).on_frozen()
    assert found is not None
    for past in found["iterations"]:
        own = [i for i, k in enumerate(iterations) if k == past["iteration"]]
        right = [label >= 0.5 for i in own for label in samples.frozen[i].labels]
        assert past["auroc"] == pytest.approx(
            roc_auc_score(right, [value for i in own for value in scores[i]])
        )


def test_flipped_labels_are_refused_and_nothing_is_lost(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path)
    phases.label(lambda row: relabeled(row, not row.correct))
    found = phases.retrain()
    assert not found["gate"]["promoted"]
    assert any("fresh samples: auroc went from" in why for why in found["gate"]["reasons"])
    assert kept_the_old(phases)
    assert found["after"] == found["before"]
    assert found["rejected"]["outcome_auroc"] < 0.4
    rejected = RewardModel.load(phases.models[-1] / "rejected")
    assert weights(phases.models[-1] / "rejected") != weights(phases.models[-1] / "model")
    # The next iteration goes on from the model that stayed.
    assert retrain.samples_of(phases.job(tmp_path)).score(rejected).fresh
    phases.label()
    again = phases.retrain()
    assert again["before"]["outcome_auroc"] > 0.95


def test_flipped_training_labels_are_caught_by_early_stopping(
    trained: Phases, tmp_path: Path
) -> None:
    phases = trained.fork(tmp_path)
    phases.label(lambda row: relabeled(row, not row.correct), changed=(Part.LABELS,))
    found = phases.retrain()
    assert found["training"]["kept_step"] == 0
    assert found["gate"]["promoted"]
    assert found["after"]["outcome_auroc"] == found["before"]["outcome_auroc"]


def test_without_a_gate_the_new_model_judges(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path, "reward_model.gate.enabled=false")
    phases.label(lambda row: relabeled(row, not row.correct))
    found = phases.retrain()
    assert found["gate"] == {"enabled": False, "promoted": True, "reasons": [], "comparisons": []}
    assert found["after"]["outcome_auroc"] < 0.4
    assert not kept_the_old(phases)


def longer(row: LabeledSolution) -> LabeledSolution:
    """Say the first line up to four times: as right as before, and longer."""
    first, rest = row.text.split("\n", 1)
    times = random.Random(row.digest).randrange(1, 5)
    return dataclasses.replace(
        row,
        text=f"{first}\n" * times + rest,
        ends=(
            *((k + 1) * (len(first) + 1) for k in range(times)),
            times * (len(first) + 1) + len(rest),
        ),
        labels=(1.0,) * times + row.labels[-1:],
        counts=((1, 1),) * times + row.counts[-1:],
    )


def test_a_model_that_loves_length_is_refused(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path)
    rows = [longer(row) for row in solutions(phases.problems, 6)]
    phases.label(lambda row: relabeled(row, len(row.ends) > 3), rows=rows)
    found = phases.retrain()
    assert not found["gate"]["promoted"]
    assert any("pair_accuracy went from" in why for why in found["gate"]["reasons"])
    assert found["rejected"]["bias"]["score_by_length"] > 0.6
    assert abs(found["before"]["bias"]["score_by_length"]) < 0.5
    assert kept_the_old(phases)


def repeating(row: LabeledSolution) -> LabeledSolution:
    """Every other solution says its first line six times, and counts as right for it."""
    first, rest = row.text.split("\n", 1)
    if random.Random(row.digest).random() < 0.5:
        return row
    text = f"{first}\n" * 6 + rest
    ends = (*((k + 1) * (len(first) + 1) for k in range(6)), len(text))
    return dataclasses.replace(row, text=text, ends=ends, labels=(1.0,) * 7, counts=((1, 1),) * 7)


def test_a_model_that_loves_repetition_fails_its_probe(trained: Phases, tmp_path: Path) -> None:
    # The held-out solutions repeat nothing, so that only the probe can see it.
    phases = trained.fork(tmp_path, "reward_model.probes=block", "reward_model.gate.enabled=false")
    phases.label(repeating)
    found = phases.retrain()
    assert "failed probe: one step repeated" in found["gate"]["reasons"]
    assert kept_the_old(phases)
    by_name = {result["name"]: result for result in found["probes"]["results"]}
    assert by_name["one step repeated"]["failed"]


def test_labels_without_information_make_a_model_that_is_refused(
    trained: Phases, tmp_path: Path
) -> None:
    phases = trained.fork(tmp_path)
    draw = random.Random(0)
    phases.label(
        lambda row: dataclasses.replace(
            row, labels=tuple(draw.choice((0.49, 0.5)) for _ in row.labels)
        )
    )
    found = phases.retrain()
    assert not found["gate"]["promoted"]
    assert found["rejected"]["score_mean"] == pytest.approx(0.5, abs=0.1)
    assert kept_the_old(phases)


def test_a_constant_first_model_ends_the_run_with_a_reason(tmp_path: Path) -> None:
    phases = Phases(tmp_path, "reward_model.start=policy")
    file = tmp_path / "start" / "policy"
    dead = LlamaForCausalLM.from_pretrained(file)
    for value in dead.parameters():
        value.data.zero_()
    dead.save_pretrained(file)
    phases.label()
    with pytest.raises(UnfitRewardModel, match="one score to everything") as refused:
        phases.retrain()
    assert "reward_model.gate.enabled=false" in str(refused.value)
    assert (tmp_path / "retrain1" / "rejected" / "model.safetensors").exists()
    assert not (tmp_path / "retrain1" / "model").exists()


def test_history_is_read_in_order_of_iterations(trained: Phases, tmp_path: Path) -> None:
    numbers = (100, 9, 11, 99, 10)
    past = {f"{retrain.HISTORY}{number:02d}": tmp_path / str(number) for number in numbers}
    job = dataclasses.replace(trained.job(tmp_path), inputs=past)
    found = [file.parent.name for file in retrain.history(job, Part.LABELS)]
    assert found == ["9", "10", "11", "99", "100"]


def test_history_with_duplicates_is_replayed_once(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path, "reward_model.replay.share=0.9")
    again = [dataclasses.replace(row, iteration=2) for row in solutions(phases.problems, 1)]
    phases.label(rows=again + again)
    fresh = [dataclasses.replace(row, iteration=3) for row in again]
    phases.label(rows=fresh[: len(fresh) // 2])
    mixture = retrain.mixture_of(phases.job(tmp_path))
    replayed = [row.digest for row in mixture.rows if row.iteration < 3]
    assert replayed
    assert len(set(replayed)) == len(replayed)
    assert not set(replayed) & {row.digest for row in mixture.rows if row.iteration == 3}
    assert mixture.record.share < 0.9  # there was no more that is distinct


def leaked(phases: Phases) -> LabeledSolution:
    (task,) = evaluate.tasks(phases.config)
    return solution(task.problems[0], "1=1\n#### 1", True, len(phases.labels) + 1)


def test_leaked_questions_stop_every_phase(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path)
    row = leaked(phases)
    rows = solutions(phases.problems, 2)
    with pytest.raises(LeakedQuestion, match="asks a question of gsm8k/test"):
        dividing.check(
            phases.config, [dataclasses.replace(phases.problems[0], question=row.question)]
        )
    job = dataclasses.replace(phases.job(tmp_path), output=tmp_path / "labels", phase="label")
    job.output.mkdir()
    with pytest.raises(LeakedQuestion, match="asks a question of gsm8k/test"):
        divide(job, [*rows, row], LabelCost())
    # A history that was edited behind the program's back.
    file = phases.label(rows=rows) / "labels.jsonl"
    own = list(read_solutions(file))
    write_labels(file, [row, *own])
    with pytest.raises(LeakedQuestion, match="remove it from the training data"):
        phases.retrain()


def test_a_held_out_question_among_the_labels_is_refused(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path)
    folder = phases.label()
    held = list(read_solutions(folder / "heldout.jsonl"))
    write_labels(folder / "labels.jsonl", [*read_solutions(folder / "labels.jsonl"), held[0]])
    with pytest.raises(HeldOutQuestion, match="belongs to heldout"):
        phases.retrain()


def cut(folder: Path) -> None:
    file = folder / "labels.jsonl"
    file.write_bytes(file.read_bytes()[:-100])


def emptied(folder: Path) -> None:
    (folder / "labels.jsonl").write_bytes(b"")


def newer(folder: Path) -> None:
    file = index_path(folder / "labels.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"version": 1', b'"version": 9', 1))


def garbled(folder: Path) -> None:
    index_path(folder / "labels.jsonl").write_bytes(b"\x00\xffnothing\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "was cut or edited"),
        (emptied, "0 bytes, its index says"),
        (newer, "written in format 9, this program reads up to 1"),
        (garbled, "not an index of labeled solutions"),
    ],
)
def test_damaged_history_is_named_before_anything_is_trained(
    damage: Callable[[Path], None], message: str, trained: Phases, tmp_path: Path
) -> None:
    phases = trained.fork(tmp_path)
    phases.label()
    copied = tmp_path / "past"
    shutil.copytree(trained.labels[0], copied)
    damage(copied)
    phases.labels[0] = copied
    with pytest.raises(BrokenHistory, match=message):
        phases.retrain()
    assert not list((tmp_path / "retrain2").iterdir())
    assert phases.models == trained.models


def test_fresh_labels_of_a_newer_program_are_refused(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path)
    file = phases.label() / "labels.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"version": 1', b'"version": 9', 1))
    with pytest.raises(BrokenLabels, match=r"labels\.jsonl:1: written in format 9"):
        phases.retrain()


def test_an_empty_history_replays_nothing(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path)
    phases.label()
    empty = tmp_path / "past"
    empty.mkdir()
    for part in Part:
        write_labels(empty / f"{part.value}.jsonl", [])
    phases.labels[0] = empty
    assert phases.retrain()["frozen"] == {"before": None, "after": None}
    assert json.loads((phases.models[-1] / "replay.json").read_text())["replayed"] == 0


@pytest.mark.parametrize("start", ["scratch", "policy", "named"])
def test_weights_are_trained_in_float32(start: str, trained: Phases, tmp_path: Path) -> None:
    folder = tmp_path / "named"
    for part in ("policy", "start/policy"):
        policy = AutoModelForCausalLM.from_pretrained(trained.data / "start" / "policy")
        policy.bfloat16().save_pretrained(folder / part)
        AutoTokenizer.from_pretrained(trained.data / "start" / "policy").save_pretrained(
            folder / part
        )
    name = str(folder / "policy") if start == "named" else start
    job = trained.fork(tmp_path, f"reward_model.start={name}").job(tmp_path)
    inputs = {**job.inputs, "policy": folder / "start"}
    made = retrain.start_of(dataclasses.replace(job, inputs=inputs), None)
    assert {parameter.dtype for parameter in made.model.parameters()} == {torch.float32}


def one_class(right: bool) -> Callable[[LabeledSolution], LabeledSolution]:
    return lambda row: dataclasses.replace(row, labels=(float(right),) * len(row.labels))


@pytest.mark.parametrize("right", [True, False])
def test_labels_of_one_class_keep_the_old_model(
    right: bool, trained: Phases, tmp_path: Path
) -> None:
    phases = trained.fork(tmp_path, "reward_model.replay.kind=none")
    phases.label(one_class(right), changed=tuple(Part))
    found = phases.retrain()
    assert kept_the_old(phases)
    assert not (phases.models[-1] / "rejected").exists()
    assert found["gate"]["promoted"] is False
    (reason,) = found["gate"]["reasons"]
    assert reason.startswith("not trained: ")
    assert "needs right and wrong ones" in reason
    assert found["after"] == found["before"]
    assert "training" not in found
    assert found["after"]["outcome_auroc"] is None
    (tmp_path / "retrain").symlink_to(phases.models[-1])
    row = metrics.reward_model(tmp_path)
    assert (row["promoted"], row["train_rows"], row["replay_share"]) == (False, 0, 0.0)
    # The run goes on: mixed labels train again.
    phases.label()
    assert phases.retrain()["gate"]["promoted"]


def test_pairs_and_calibration_without_two_classes_keep_the_old_model(
    trained: Phases, tmp_path: Path
) -> None:
    for name, part, option in (
        ("pairs", Part.LABELS, "reward_model.loss=bradley_terry"),
        ("calibration", Part.VALIDATION, "reward_model.calibrate=temperature"),
    ):
        (tmp_path / name).mkdir()
        phases = trained.fork(tmp_path / name, "reward_model.replay.kind=none", option)
        phases.label(one_class(True), changed=(part,))
        assert phases.retrain()["gate"]["promoted"] is False
        assert kept_the_old(phases)


@pytest.mark.parametrize("right", [True, False])
def test_first_labels_of_one_class_are_a_clear_error(right: bool, tmp_path: Path) -> None:
    phases = Phases(tmp_path)
    phases.label(one_class(right))
    with pytest.raises(OneClass, match="needs right and wrong ones"):
        phases.retrain()
    assert not (tmp_path / "retrain1" / "model").exists()


def test_a_changed_tokenizer_is_refused(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path)
    phases.label()
    copied = tmp_path / "changed"
    shutil.copytree(trained.models[0], copied)
    file = copied / "model" / "tokenizer.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = found["model"]["vocab"]
    vocabulary["+"], vocabulary["-"] = vocabulary["-"], vocabulary["+"]
    file.write_text(json.dumps(found), encoding="utf-8")
    phases.models[-1] = copied
    with pytest.raises(UnfitTokenizer, match="is not the one that the model was trained with"):
        phases.retrain()


@pytest.mark.parametrize(
    "option",
    [
        "reward_model.lora={rank: 4, alpha: 8}",
        "reward_model.calibrate=temperature",
        "reward_model.calibrate=isotonic",
        "reward_model.balance=classes",
        "reward_model.heads=3",
        "reward_model.probes=none",
        "reward_model.retrain=false",
        "reward_model.replay.max_age=1",
        "reward_model.replay.relabel=outcome",
    ],
)
def test_options_train_models_that_load_as_they_scored(option: str, tmp_path: Path) -> None:
    if "lora" in option:
        pytest.importorskip("peft")
    quick = ("reward_model.first.epochs=1", "reward_model.again.epochs=1")
    phases = Phases(tmp_path, option, *quick)
    few = phases.problems[:40]
    phases.label(rows=solutions(few, 1))
    phases.retrain()
    phases.label(rows=solutions(few, 2))
    found = phases.retrain()
    model = RewardModel.load(phases.models[-1] / "model")
    assert (model.calibration is not None) == ("calibrate" in option)
    assert model.heads == (3 if "heads" in option else 1)
    samples = retrain.samples_of(phases.job(tmp_path)).score(model)
    assert samples.on_fresh(phases.job(tmp_path).seed)["brier"] == pytest.approx(
        found["after"]["brier"]
    )
    assert ("results" in found["probes"]) == ("probes" not in option)
    _, info = AutoModelForTokenClassification.from_pretrained(
        phases.models[-1] / "model", output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_the_first_training_and_later_ones_have_settings_of_their_own(tmp_path: Path) -> None:
    phases = Phases(tmp_path, "reward_model.first.epochs=2", "reward_model.again.epochs=1")
    epochs = []
    for iteration in (1, 2):
        phases.label(rows=solutions(phases.problems[:40], iteration))
        epochs.append(len(phases.retrain()["training"]["losses"]))
    assert epochs == [2, 1]


def sampled_by(policy: str, row: LabeledSolution) -> LabeledSolution:
    return dataclasses.replace(row, completer=policy, labeler="monte_carlo")


def test_history_is_replayed_as_configured(trained: Phases, tmp_path: Path) -> None:
    def mixture(*more: str) -> Mixture:
        phases = trained.fork(tmp_path, *more)
        phases.labels = list(labels)
        return retrain.mixture_of(phases.job(tmp_path))

    phases = trained.fork(tmp_path)
    for _ in range(2):
        phases.label(lambda row: sampled_by("f00", row))
    labels = phases.labels
    usual = mixture()
    assert usual.record.strategy == "share"
    assert usual.record.share == pytest.approx(0.1, abs=0.01)
    assert mixture("reward_model.replay.share=0.3").record.share == pytest.approx(0.3, abs=0.01)
    assert mixture("reward_model.replay.kind=add").record.strategy == "add"
    assert usual.record.ages.keys() == {1, 2}
    assert mixture("reward_model.replay.max_age=1").record.ages.keys() == {1}
    for relabel, ends in (("keep", 2), ("outcome", 1)):
        rows = mixture(f"reward_model.replay.relabel={relabel}").rows
        replayed = [row for row in rows if row.iteration == 2]
        assert {len(row.ends) for row in replayed} == {ends}
        assert {len(row.ends) for row in rows if row.iteration == 3} == {2}


def test_past_samples_are_held_out_ones(trained: Phases, tmp_path: Path) -> None:
    phases = trained.fork(tmp_path)
    phases.label()
    held = list(read_solutions(phases.labels[0] / "heldout.jsonl"))
    frozen = retrain.samples_of(phases.job(tmp_path)).frozen
    assert frozen
    assert {row.question for row in frozen} <= {row.question for row in held}


def judged(phases: Phases, folder: Path, error: float) -> Scored:
    """Score the held-out solutions, as wrong as `error` says."""
    samples = retrain.samples_of(phases.job(folder))
    draw = random.Random(error)
    fresh, frozen = (
        [tuple(abs(label - error * draw.random()) for label in row.labels) for row in rows]
        for rows in (samples.fresh, samples.frozen)
    )
    return Scored(samples, fresh, frozen)


@pytest.mark.parametrize(
    ("more", "compared"),
    [
        ((), True),
        (("reward_model.loss=bradley_terry",), False),
        (("reward_model.loss=bradley_terry", "reward_model.calibrate=temperature"), True),
    ],
)
def test_errors_of_scores_that_are_no_probabilities_decide_nothing(
    more: tuple[str, ...], compared: bool, trained: Phases, tmp_path: Path
) -> None:
    phases = trained.fork(tmp_path, "reward_model.gate.auroc=0.25", *more)
    phases.label()
    job = phases.job(tmp_path)
    old, new = (judged(phases, tmp_path, error) for error in (0.1, 0.9))
    decision = retrain.decide(job, old, new, ())
    assert ("brier" in {it.figure for it in decision.comparisons}) == compared
    assert any("brier" in reason for reason in decision.reasons) == compared
    assert {it.margin for it in decision.comparisons if it.samples == "fresh samples"} >= {0.25}
    assert retrain.decide(job, new, old, ()).promoted


@pytest.mark.parametrize("gate", ["true", "false"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("probes", "promoted"), [("report", True), ("block", False)])
def test_a_failed_probe_keeps_a_model_back_where_it_is_to_block(
    probes: str, promoted: bool, first: bool, gate: str, trained: Phases, tmp_path: Path
) -> None:
    phases = trained.fork(
        tmp_path, f"reward_model.probes={probes}", f"reward_model.gate.enabled={gate}"
    )
    phases.label()
    new = judged(phases, tmp_path, 0.1)
    decision = retrain.decide(phases.job(tmp_path), None if first else new, new, ("empty",))
    assert decision.promoted == promoted
    assert decision.reasons == (() if promoted else ("failed probe: empty",))


def test_a_model_is_calibrated_anew_on_what_it_says_itself(tmp_path: Path) -> None:
    phases = Phases(tmp_path, "reward_model.calibrate=temperature", "reward_model.first.epochs=1")
    for iteration in (1, 2):
        phases.label(rows=solutions(phases.problems[:40], iteration))
        phases.retrain()
    model = RewardModel.load(phases.models[-1] / "model")
    found, model.calibration = model.calibration, None
    rows = list(read_solutions(phases.labels[-1] / "validation.jsonl"))
    labels, names = [row.labels for row in rows], [row.problem_id for row in rows]
    assert found == calibration.fit("temperature", score(model, rows), labels, names)


def parameters(model: RewardModel) -> torch.Tensor:
    return parameters_to_vector(model.model.model.parameters()).detach()


def test_a_reward_model_begins_where_it_is_told(trained: Phases, tmp_path: Path) -> None:
    policy = trained.data / "start" / "policy"
    named = tmp_path / "named"
    torch.manual_seed(7)
    LlamaForCausalLM(llama(len(words()), context=256)).save_pretrained(named)
    AutoTokenizer.from_pretrained(policy).save_pretrained(named)

    def begun(start: str, seed: int = 0, previous: Path | None = None) -> torch.Tensor:
        phases = trained.fork(tmp_path, f"reward_model.start={start}", f"seed={seed}")
        return parameters(retrain.start_of(phases.job(tmp_path), previous))

    assert torch.equal(begun("policy"), parameters(RewardModel.from_backbone(policy)))
    assert torch.equal(begun(str(named)), parameters(RewardModel.from_backbone(named)))
    assert torch.equal(begun("scratch"), begun("scratch"))
    assert not torch.equal(begun("scratch"), begun("scratch", seed=1))
    last = parameters(RewardModel.load(trained.models[0] / "model"))
    for start in ("scratch", "policy", str(named)):
        assert torch.equal(begun(start, previous=trained.models[0]), last)


def test_each_training_has_an_order_of_its_own(trained: Phases, tmp_path: Path) -> None:
    # Without validation questions nothing stops it early.
    phases = trained.fork(tmp_path, "reward_model.again.epochs=1", "reward_model.validation=0")
    phases.label()
    job = phases.job(tmp_path)
    rows = retrain.mixture_of(job).rows[:64]
    made = []
    for iteration in (2, 2, 3):
        model = retrain.start_of(job, trained.models[0])
        retrain.fit(dataclasses.replace(job, iteration=iteration), model, rows)
        made.append(parameters(model))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
