"""Whole policy phases of a tiny policy: what trains it, what samples it, and how they go on."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipelines import run
from pipelines.phases import optimize
from pipelines.policies import PolicyError
from pipelines.progress import Progress
from pipelines.runs import Job
from reward_models.model import RewardModel
from tests.pipelines import checkpoint_engine, toy
from tests.pipelines.phases import asked
from tests.pipelines.toy import lines

SOURCE = """
from iterative_grpo.engines._requests import per_prompt
from iterative_grpo.types import Completion, Finish

ASKED = []
ENDS_BEFORE = []


def answer(prompt, sample):
    text = f"1+1=2\\n#### {2 + sample % 2}"
    return Completion(prompt.problem_id, sample, text, (5, 6 + sample), Finish.STOP)


class Engine:
    def generate(self, prompts, sampling):
        if len(ASKED) in ENDS_BEFORE:
            raise KeyboardInterrupt
        samplings = per_prompt(prompts, sampling)
        ASKED.append([(prompt.token_ids, own.stop) for prompt, own in zip(prompts, samplings)])
        return [
            [answer(prompt, sample) for sample in range(own.group_size)]
            for prompt, own in zip(prompts, samplings)
        ]


def load(model, tokenizer):
    return Engine()
"""
"""An engine that answers rightly and wrongly in turn, keeps what it was asked, may end a phase."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ModuleType]:
    with checkpoint_engine.added(tmp_path / "engines", "in_turn", SOURCE) as module:
        yield module


def job_of(folder: Path, data: Path, *more: str) -> Job:
    """Return a phase of three steps on two questions each, in `folder`."""
    shape = ("optimize.steps=3", "optimize.prompts=2", "optimize.group_size=2")
    config = toy.config(folder, data, "engine=in_turn", "reward=verifier", *shape, *more)
    inputs = {name: folder / name for name in ("policy", "initial")}
    for seed, place in enumerate(inputs.values()):
        if not place.exists():
            asked.write_policy(place, seed)
    output = folder / "optimize"
    output.mkdir(exist_ok=True)
    return Job("optimize", 1, config, inputs, output, Progress(quiet=True))


def trained(job: Job) -> dict[str, torch.Tensor]:
    """Run the phase; return the weights of the new policy."""
    optimize.run(job)
    return load_file(job.output / "policy" / "model.safetensors")


def start(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.inputs["policy"] / "policy" / "model.safetensors")


def test_a_phase_that_was_cut_off_goes_on_behind_its_checkpoint(
    tmp_path: Path, data: Path, engine: Any
) -> None:
    more = ("optimize.checkpoint_every=1", "optimize.steps=4")
    expected = trained(job_of(tmp_path / "whole", data, *more))
    asked_for = list(engine.ASKED)
    assert len(asked_for) == 4

    engine.ASKED.clear()
    engine.ENDS_BEFORE.append(3)
    job = job_of(tmp_path / "broken", data, *more)
    with pytest.raises(KeyboardInterrupt):
        optimize.run(job)
    checkpoints = job.output / "work" / "checkpoints"
    assert [it.name for it in checkpoints.glob("checkpoint-*")] == ["checkpoint-3"]
    # One that was cut off while it was written does not count, and would mix with the next of it.
    (checkpoints / "checkpoint-4").mkdir()
    (checkpoints / "checkpoint-4" / "left.over").touch()
    engine.ENDS_BEFORE.clear()
    shown = io.StringIO()
    found = trained(dataclasses.replace(job, progress=Progress(shown)))
    assert shown.getvalue().count("goes on behind step 3 of 4\n") == 1
    assert asked_for == engine.ASKED
    assert [row["step"] for row in lines(job.output / "log" / "steps.jsonl")] == [1, 2, 3, 4]
    rollouts = [row["step"] for row in lines(job.output / "rollouts.jsonl")]
    assert rollouts == [step for step in (1, 2, 3, 4) for _ in range(4)]
    assert [it.name for it in checkpoints.glob("checkpoint-*")] == ["checkpoint-4"]
    assert not (checkpoints / "checkpoint-4" / "left.over").exists()
    for name, weight in found.items():
        assert torch.equal(weight, expected[name]), name


def test_all_weights_of_a_policy_are_trained_without_an_adapter(
    tmp_path: Path, data: Path, engine: Any
) -> None:
    job = job_of(tmp_path, data)
    found, before = trained(job), start(job)
    assert len(engine.ASKED) == 3
    assert found.keys() == before.keys()
    assert not [name for name, weight in found.items() if torch.equal(weight, before[name])]


def test_an_adapter_is_trained_and_merged(tmp_path: Path, data: Path, engine: Any) -> None:
    adapter = "policy.lora={rank: 2, alpha: 4, targets: [q_proj, up_proj]}"
    job = job_of(tmp_path, data, adapter, "optimize.learning_rate=0.1")
    found, before = trained(job), start(job)
    assert found.keys() == before.keys()
    moved = {name for name, weight in found.items() if not torch.equal(weight, before[name])}
    layer = "model.layers.0"
    assert moved == {f"{layer}.self_attn.q_proj.weight", f"{layer}.mlp.up_proj.weight"}
    for name in moved:
        _, strengths, _ = torch.linalg.svd((found[name] - before[name]).double())
        assert strengths[2] < 1e-3 * strengths[1], name


def test_a_phase_leaves_its_policy_and_what_it_did(
    tmp_path: Path, data: Path, engine: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job = job_of(tmp_path, data)
    optimize.run(dataclasses.replace(job, progress=Progress()))
    printed = capsys.readouterr()
    assert "goes on" not in printed.err
    assert not printed.out  # the steps are in their log
    assert "it/s" not in printed.err  # and on the run's own bar
    names = {"policy", "rollouts.jsonl", "questions.jsonl", "watch.json", "log", "work"}
    assert {it.name for it in job.output.iterdir()} == names
    written = {it["id"]: it["answer"] for it in lines(job.output / "questions.jsonl")}
    rollouts = lines(job.output / "rollouts.jsonl")
    assert [row["problem_id"] for row in rollouts[::2]] == list(written)
    assert len({prompt for call in engine.ASKED for prompt in call}) == len(written) == 3 * 2
    for row in rollouts:
        right = row["text"] == f"1+1=2\n#### {written[row['problem_id']]}"
        assert (row["correct"], row["rewards"]) == (right, [float(right)])
    steps = lines(job.output / "log" / "steps.jsonl")
    assert [row["verifier_accuracy"] for row in steps] == [0.5] * 3


@pytest.mark.slow
def test_a_run_goes_on_within_a_policy_phase(tmp_path: Path, data: Path, engine: Any) -> None:
    policy = asked.write_policy(tmp_path) / "policy"
    more = ("engine=in_turn", "reward=verifier", "iterations=1", "evaluate.limit=2")
    steps = ("optimize.steps=4", "optimize.checkpoint_every=2")
    named = ("policy=null", f"policy.model={policy}")
    config = toy.config(tmp_path, data, *more, *steps, *named)
    engine.ENDS_BEFORE.append(1 + 3)  # an evaluation comes before the first step
    with pytest.raises(KeyboardInterrupt):
        run(config, quiet=True)
    engine.ENDS_BEFORE.clear()
    run(config, quiet=True)
    # Steps 3 and 4 follow the checkpoint; the last evaluation measures a distance too.
    assert len(engine.ASKED) == 1 + 3 + 2 + 2
    assert (config.run_dir / "iterations" / "01" / "optimize" / "policy").exists()


def test_credit_is_given_by_the_rule_and_the_scale_that_are_configured(
    tmp_path: Path, data: Path, engine: Any
) -> None:
    """Of two outputs one earns 1 and 1 by its steps, the other 1 and 0: the mean is 0.75."""
    expected = {
        ("sum", "none"): [-0.5, -0.75],
        ("sum", "group"): [-1.0, -1.5],
        ("min", "none"): [-0.5, -0.5],
    }
    for (rule, scale), advantages in expected.items():
        more = ("supervision=process", f"credit={rule}", f"optimize.scale={scale}")
        job = job_of(tmp_path / f"{rule}-{scale}", data, "optimize.steps=1", *more)
        optimize.run(job)
        wrong = [row for row in lines(job.output / "rollouts.jsonl") if not row["correct"]]
        for row in wrong:
            assert row["rewards"] == [1.0, 0.0]
            assert row["advantages"] == pytest.approx(advantages, rel=1e-3)
        assert len(wrong) == 2


def test_answers_end_where_the_prompts_format_says(tmp_path: Path, data: Path, engine: Any) -> None:
    for prompt, stop in (("plain", ()), ("gsm8k_8shot", ("Q:",))):
        engine.ASKED.clear()
        more = ("optimize.steps=1", f"policy.prompt={prompt}")
        optimize.run(job_of(tmp_path / prompt, data, *more))
        assert {stop for call in engine.ASKED for _, stop in call} == {stop}


def test_the_watch_ends_a_phase_whose_policy_counts(
    tmp_path: Path, data: Path, engine: Any
) -> None:
    when = "optimize.watch.retrain_when={window: 2, kl: 1e-12, gap: null, pair_accuracy: null}"
    job = job_of(tmp_path, data, "reward=model", "optimize.watch.action=stop", when)
    judge = tmp_path / "judge"
    RewardModel.from_backbone(job.inputs["policy"] / "policy").save(judge / "model")
    shown = io.StringIO()
    inputs = {**job.inputs, "reward_model": judge}
    found = trained(dataclasses.replace(job, inputs=inputs, progress=Progress(shown)))
    assert shown.getvalue().count("watch: ended the phase at step 2") == 1
    assert len(lines(job.output / "log" / "steps.jsonl")) == 2
    said = json.loads((job.output / "watch.json").read_text(encoding="utf-8"))
    assert (said["stopped"], said["step"]) == (True, 2)
    assert not all(torch.equal(weight, found[name]) for name, weight in start(job).items())


def test_a_target_of_the_kl_moves_its_coefficient(tmp_path: Path, data: Path, engine: Any) -> None:
    for more, factor in (((), 1.0), (("optimize.kl_target=10",), 0.98)):
        job = job_of(tmp_path / str(factor), data, *more)
        optimize.run(job)
        betas = [row["beta"] for row in lines(job.output / "log" / "steps.jsonl")]
        assert betas == pytest.approx([0.04, 0.04 * factor, 0.04 * factor**2])


def test_the_distance_from_the_initial_policy_is_measured_without_a_reference_too(
    tmp_path: Path, data: Path, engine: Any
) -> None:
    job = job_of(tmp_path, data, "optimize.beta=0", "optimize.kl_initial_outputs=2")
    optimize.run(job)
    # The phase begins at another policy than the run did.
    distances = [row["kl_initial"] for row in lines(job.output / "log" / "steps.jsonl")]
    assert min(distances) > 0.01


def test_the_configured_engine_samples_unless_trl_is_to(
    tmp_path: Path, data: Path, engine: Any
) -> None:
    for name, calls in (("in_turn", 3), ("generate", 0)):
        engine.ASKED.clear()
        optimize.run(job_of(tmp_path / name, data, f"engine={name}", "max_tokens=2"))
        assert len(engine.ASKED) == calls


def test_a_policy_that_diverged_in_the_last_step_is_not_saved(
    tmp_path: Path, data: Path, engine: Any
) -> None:
    job = job_of(tmp_path, data, "optimize.steps=1", "optimize.learning_rate=1e39")
    with pytest.raises(PolicyError, match=r"the policy of iteration 1: .* not finite"):
        optimize.run(job)
    assert not (job.output / "policy").exists()
    (row,) = lines(job.output / "log" / "steps.jsonl")
    assert json.dumps(row).count("NaN") == json.dumps(row).count("Infinity") == 0
