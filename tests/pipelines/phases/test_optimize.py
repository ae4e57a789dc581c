"""The policy phase: what it reads and logs, what one that goes on keeps, when it counts as done."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from iterative_grpo.rollouts import Rollout
from iterative_grpo.types import Finish, StepRewards
from pipelines import policies, run
from pipelines.artifacts import ArtifactError
from pipelines.config import PolicySettings
from pipelines.datasets import arithmetic
from pipelines.failures import PhaseFailed
from pipelines.phases import optimize
from pipelines.phases.optimize import StepLog, keep_until
from pipelines.progress import Progress
from pipelines.runs import Job
from pipelines.watching import Watching
from pipelines.world import World
from reward_models.model import RewardModel
from tests.pipelines import toy
from tests.pipelines.phases import asked
from tests.pipelines.test_running import command, environment, write_config
from tests.pipelines.toy import lines


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("toy") / "data")


@pytest.mark.parametrize("rest", ["", '{"step": 3, "text": "c', '{"step": 2, "text": "b'])
def test_lines_after_the_step_and_a_broken_one_are_cut_off(tmp_path: Path, rest: str) -> None:
    file = tmp_path / "rollouts.jsonl"
    rows = [{"step": step, "text": text} for step in (1, 2, 3, 4) for text in ("é", "≡")]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    file.write_text("".join(lines) + rest, encoding="utf-8")
    inode = file.stat().st_ino
    keep_until(file, 2, lines=4)
    assert file.read_text(encoding="utf-8") == "".join(lines[:4])
    keep_until(file, 0, lines=0)
    assert not file.read_text(encoding="utf-8")
    assert file.stat().st_ino == inode


def test_a_file_that_is_not_there_is_nothing_to_cut(tmp_path: Path) -> None:
    keep_until(tmp_path / "rollouts.jsonl", 0, lines=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["gone", "short", "no JSON", "no object", "no step", "twice"])
def test_a_log_that_lost_lines_before_the_checkpoint_is_refused(
    tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "log" / "steps.jsonl"
    file.parent.mkdir()
    lines = [json.dumps({"step": step}) + "\n" for step in (1, 2, 3, 4)]
    changed = {
        "gone": [],
        "short": lines[:2],
        "no JSON": [lines[0], '{"st\n', *lines[2:]],
        "no object": [lines[0], "[]\n", *lines[2:]],
        "no step": [lines[0], "{}\n", *lines[2:]],
        "twice": [lines[0], *lines],
    }[damage]
    if changed:
        file.write_text("".join(changed), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"whole lines of steps 1 to 3 where 3 were written"):
        keep_until(file, 3, lines=3)
    if changed:
        assert file.read_text(encoding="utf-8") == "".join(changed)


def job_of(folder: Path, data: Path, *more: str, iteration: int = 1) -> Job:
    config = toy.config(folder, data, *more)
    output = folder / "optimize"
    output.mkdir(exist_ok=True)
    inputs = {name: folder / name for name in ("policy", "initial")}
    return Job("optimize", iteration, config, inputs, output, Progress(quiet=True))


LOGS = {"loss": 0.1, "kl": 0.3, "epoch": 1.0, "num_tokens": 7, "shape": "none"}


def row(job: Job, logs: Mapping[str, Any] = LOGS) -> dict[str, Any]:
    return StepLog(job, World(), resumed_at=0).row(3, logs)


@pytest.mark.parametrize(
    ("iteration", "more", "known"),
    [
        (1, (), True),
        # The reference is another policy from iteration 2 on, and none where beta is 0.
        (2, (), False),
        (1, ("optimize.beta=0",), False),
        (1, ("optimize.kl_initial_outputs=0",), False),
    ],
)
def test_the_distance_from_the_reference_is_that_from_the_initial_policy_while_they_are_one(
    iteration: int, more: tuple[str, ...], known: bool, tmp_path: Path, data: Path
) -> None:
    found = row(job_of(tmp_path, data, *more, iteration=iteration))
    assert found == {"iteration": iteration, "step": 3, "loss": 0.1, "kl": 0.3, "tokens": 7} | (
        {"kl_initial": 0.3} if known else {}
    )


@pytest.mark.parametrize(
    ("iteration", "more", "measured"),
    [
        (1, (), False),
        (2, (), True),
        (1, ("optimize.beta=0",), True),
        (2, ("optimize.kl_initial_outputs=0",), False),
    ],
)
def test_the_initial_policy_is_loaded_where_the_reference_is_another(
    iteration: int, more: tuple[str, ...], measured: bool, tmp_path: Path, data: Path
) -> None:
    for seed, name in enumerate(("policy", "initial")):
        asked.write_policy(tmp_path / name, seed)
    found = optimize.initial_policy(job_of(tmp_path, data, *more, iteration=iteration))
    assert (found is not None) == measured
    if measured:
        assert found.outputs == 16
        expected, _ = policies.load(tmp_path / "initial" / "policy", PolicySettings())
        for own, other in zip(found.model.parameters(), expected.parameters(), strict=True):
            assert torch.equal(own, other)
            assert not own.requires_grad


def test_a_mixtures_weights_and_the_share_that_the_verifier_rewarded_are_logged(
    tmp_path: Path, data: Path
) -> None:
    more = ("reward=mixture", "mixture.verifier_weight=0.75", "mixture.model_weight=0.5")
    job = job_of(tmp_path, data, *more)
    for logs, share in (
        ({"reward/verifier": 1.0}, 1.0),
        ({"reward/verifier": 1.0, "share/verifier": 0.25}, 0.25),
        ({}, 0.0),
    ):
        found = row(job, logs)
        assert (found["weight/verifier"], found["weight/model"]) == (0.75, 0.5)
        assert found["share/verifier"] == share


def test_rollouts_of_explorations_that_a_checkpoint_is_in_the_middle_of_are_kept(
    tmp_path: Path, data: Path
) -> None:
    halves = "optimize.micro_batch=8"
    job = job_of(tmp_path, data, "optimize.updates=2", "optimize.checkpoint_every=2", halves)
    file = job.output / "work" / "rollouts.jsonl.rank0"
    for resumed_at, kept in ((4, [1, 3]), (3, [1, 3]), (2, [1])):
        file.parent.mkdir(exist_ok=True)
        steps = [step for step in (1, 3, 5) for _ in range(16)]
        file.write_text("".join(json.dumps({"step": it}) + "\n" for it in steps))
        log = job.output / "log" / "steps.jsonl"
        log.parent.mkdir(exist_ok=True)
        log.write_text("".join(json.dumps({"step": it}) + "\n" for it in range(1, 6)))
        StepLog(job, World(), resumed_at)
        assert [line["step"] for line in lines(file)] == [it for it in kept for _ in range(16)]
        assert len(lines(log)) == resumed_at


def test_a_rollout_is_written_with_its_iteration_and_step(tmp_path: Path, data: Path) -> None:
    log = StepLog(job_of(tmp_path, data, iteration=2), World(), resumed_at=0)
    rollout = Rollout("p", 0, "ab", 3, Finish.STOP, StepRewards((2,), (0.9,)), (0.0,), False)
    log.record(3, [rollout])
    (written,) = lines(tmp_path / "optimize" / "work" / "rollouts.jsonl.rank0")
    assert (written["iteration"], written["step"], written["problem_id"]) == (2, 3, "p")


def test_each_iteration_asks_questions_of_its_own(tmp_path: Path, data: Path) -> None:
    model, tokenizer = policies.load(asked.write_policy(tmp_path) / "policy", PolicySettings())
    more = ("optimize.steps=5", "optimize.updates=2", "optimize.prompts=4")
    first, second = (
        optimize.task(job_of(tmp_path, data, *more, iteration=iteration), model, tokenizer)
        for iteration in (1, 2)
    )
    assert len(first.problems) == len(second.problems) == 3 * 4
    assert {it.id for it in first.problems} != {it.id for it in second.problems}


def test_each_iteration_trains_with_random_numbers_of_its_own(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Enough(Exception):
        pass

    def note(config: Any, seed: int, iteration: int, *_: Any) -> None:
        noted.append((seed, iteration))
        raise Enough

    noted: list[tuple[int, int]] = []
    asked.write_policy(tmp_path / "policy")
    asked.write_policy(tmp_path / "initial")
    monkeypatch.setattr(optimize.trl_settings, "arguments", note)
    for iteration in (1, 2):
        with pytest.raises(Enough):
            optimize.run(job_of(tmp_path, data, "reward=verifier", iteration=iteration))
    seeds, iterations = zip(*noted, strict=True)
    assert len(set(seeds)) == 2
    assert iterations == (1, 2)


def test_a_question_that_is_asked_twice_is_written_once(tmp_path: Path, data: Path) -> None:
    one, two = arithmetic.read("train", None, 2, 0).problems
    optimize.write_questions(tmp_path / "questions.jsonl", [one, two, one])
    assert [line["id"] for line in lines(tmp_path / "questions.jsonl")] == [one.id, two.id]


def test_the_reward_model_judges_in_the_precision_that_is_asked_for(
    tmp_path: Path, data: Path
) -> None:
    judge = RewardModel.from_backbone(asked.write_policy(tmp_path / "policy") / "policy", heads=1)
    judge.save(tmp_path / "retrain" / "model")
    scores = []
    for name in ("float32", "bfloat16"):
        job = job_of(tmp_path, data, f"reward_model.dtype={name}")
        inputs = {**job.inputs, "reward_model": tmp_path / "retrain"}
        model = optimize.reward_parts(replace(job, inputs=inputs)).model
        assert {weight.dtype for weight in model.model.parameters()} == {getattr(torch, name)}
        scores.append(model.score(["Round 1?"] * 2, ["1+1=2\n#### 2", "3"], [(5, 12), (1,)]))
    (exact, rounded) = ([value for row in rows for value in row] for rows in scores)
    assert rounded == pytest.approx(exact, abs=0.02)
    assert rounded != exact


def test_rewards_of_the_verifiers_share_stay_those_of_the_same_questions(
    tmp_path: Path, data: Path
) -> None:
    """Which questions the verifier rewards is drawn by the run's seed: iterations do not differ."""
    jobs = [
        job_of(tmp_path, data, "reward=mixture", "seed=5", iteration=iteration)
        for iteration in (1, 2)
    ]
    assert [optimize.reward_parts(job).seed for job in jobs] == [5, 5]
    weighted = job_of(tmp_path, data, "reward=mixture", "mixture.model_weight=0.3")
    assert optimize.reward_parts(weighted).model_weight == 0.3
    more = ("data.name=arithmetic", "data.limit=20")
    checked = optimize.reward_parts(job_of(tmp_path, data, *more))
    assert checked.check_steps is arithmetic.check_steps


def test_the_ledger_and_its_cells_are_written_with_what_the_watch_said(
    tmp_path: Path, data: Path
) -> None:
    job = job_of(tmp_path, data)
    rewards = StepRewards((2,), (0.9,), {"model": (0.9,)})
    rollout = Rollout("p", 0, "ab", 3, Finish.STOP, rewards, (0.0,), False)
    rows = json.dumps(rollout.as_row(iteration=1, step=1)) + "\n"
    (job.output / "rollouts.jsonl").write_text(rows, encoding="utf-8")
    optimize.conclude(job, Watching(job.config.optimize.watch))
    written = json.loads((job.output / "watch.json").read_text())
    assert written["cells"]["liked wrong"] == 1
    assert (written["stopped"], written["reason"]) == (False, None)
    header, kept = lines(job.output / "ledger.jsonl")
    assert header["counts"] == written["cells"]
    assert kept["problem_id"] == "p"


@pytest.mark.slow
def test_two_processes_train_an_adapter(tmp_path: Path, data: Path) -> None:
    more = ("iterations=1", "launch.mode=accelerate", "launch.processes=2", "reward=verifier")
    adapter = "policy.lora={rank: 2, alpha: 4}"
    config = write_config(tmp_path, data, "two")
    subprocess.run(command(config, *more, adapter), env=environment(), check=True, timeout=500)
    finished = tmp_path / "two" / "run" / "iterations/01/optimize"
    assert [row["step"] for row in lines(finished / "log/steps.jsonl")] == [1, 2, 3, 4]


WORKERS = """
import os, sys
if "pipelines.launching" in " ".join(sys.orig_argv) and "RANK" in os.environ:
    from benchmarks import shards_on_cpu
    shards_on_cpu.allow()
    if "BREAK_AT" in os.environ:
        from iterative_grpo import trainer
        log = trainer.IterativeGRPOTrainer.log
        def stop(self, *args, **more):
            if self.state.global_step == int(os.environ["BREAK_AT"]):
                os._exit(1)
            log(self, *args, **more)
        trainer.IterativeGRPOTrainer.log = stop
"""


@pytest.mark.slow
def test_an_adapter_trained_in_shards_goes_on_where_it_stopped(tmp_path: Path, data: Path) -> None:
    more = ("iterations=1", "reward=verifier", "policy.lora={rank: 2, alpha: 4}")
    config = write_config(tmp_path, data, "run")
    launch = ("launch.mode=accelerate", "launch.processes=2", "optimize.checkpoint_every=2")
    iteration = tmp_path / "run" / "run" / "iterations/01"
    (tmp_path / "sitecustomize.py").write_text(WORKERS, encoding="utf-8")
    file = tmp_path / "fsdp.yaml"
    sharding = {"fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}
    file.write_text(
        json.dumps({"distributed_type": "FSDP", "num_processes": 2, "fsdp_config": sharding}),
        encoding="utf-8",
    )

    def done(*options: str, **variables: str) -> int:
        own = environment()
        own |= {"PYTHONPATH": f"{own['PYTHONPATH']}:{tmp_path}", **variables}
        made = subprocess.run(
            command(config, *more, *launch, *options),
            env=own,
            check=False,
            timeout=500,
            capture_output=True,
            text=True,
        )
        assert "come from TRL" not in made.stderr
        return made.returncode

    assert not done()
    whole = iteration.rename(tmp_path / "whole")
    shards = f"launch.config_file={file}"
    assert done(shards, BREAK_AT="3")
    assert not (iteration / "optimize").exists()
    assert list(iteration.glob("optimize.partial/work/checkpoints/checkpoint-2/*fsdp*"))
    assert not done(shards)

    texts = [
        [row["text"] for row in lines(each / "optimize/rollouts.jsonl")]
        for each in (whole, iteration)
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 4 * 16
    policies = [
        load_file(each / "optimize/policy/model.safetensors") for each in (whole, iteration)
    ]
    start = load_file(whole.parent / "run/run/start/policy/model.safetensors")
    assert policies[0].keys() == policies[1].keys() == start.keys()
    for name, weight in policies[0].items():
        torch.testing.assert_close(policies[1][name], weight, rtol=0, atol=1e-4)
    assert any(not torch.equal(weight, start[name]) for name, weight in policies[1].items())


@pytest.mark.slow
def test_a_policy_phase_that_ends_before_its_last_step_is_not_sealed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ended it: transformers stops at a signal where it is told to."""
    from transformers import Trainer

    config = toy.config(tmp_path, data, "iterations=1", "reward=verifier")
    plain = Trainer.training_step

    def ends(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        trainer.control.should_training_stop = trainer.state.global_step == 1
        return plain(trainer, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", ends)
    with pytest.raises(PhaseFailed, match="training ended at step 2 of 4 of iteration 1"):
        run(config, quiet=True)
    monkeypatch.undo()
    run(config, quiet=True)
    assert len(lines(tmp_path / "run/iterations/01/optimize/log/steps.jsonl")) == 4
