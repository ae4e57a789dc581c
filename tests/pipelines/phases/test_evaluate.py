"""What an evaluation of a run depends on, and what it asks and measures."""

from __future__ import annotations

import dataclasses
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest

from iterative_grpo.divergence import kl
from iterative_grpo.types import Completion, Finish, Sampling
from pipelines import policies
from pipelines.config import PolicySettings
from pipelines.evaluation import answering
from pipelines.phases import evaluate
from pipelines.progress import Progress
from pipelines.runs import Job
from reward_models.model import RewardModel
from tests.pipelines import checkpoint_engine, toy
from tests.pipelines.phases import asked


def test_a_judge_is_known_by_its_files_and_not_by_its_place(tmp_path: Path) -> None:
    toy.write_data(tmp_path / "data")
    judge, copy = tmp_path / "judge", tmp_path / "copy"
    judge.mkdir()
    (judge / "model.safetensors").write_bytes(b"weights")
    shutil.copytree(judge, copy)

    def settings(*more: str) -> object:
        return evaluate.settings(toy.config(tmp_path, tmp_path / "data", *more))

    chosen = settings("evaluate.samples=2", f"evaluate.reward_model={judge}")
    assert settings("evaluate.samples=2", f"evaluate.reward_model={copy}") == chosen
    assert settings("evaluate.samples=2") != chosen
    (copy / "model.safetensors").write_bytes(b"other weights")
    assert settings("evaluate.samples=2", f"evaluate.reward_model={copy}") != chosen


def test_figures_depend_on_the_precision_that_answers_are_sampled_in(tmp_path: Path) -> None:
    toy.write_data(tmp_path / "data")

    def settings(*more: str) -> object:
        return evaluate.settings(toy.config(tmp_path, tmp_path / "data", *more))

    assert settings("optimize.bf16=true") != settings()
    assert settings("optimize.learning_rate=1e-4") == settings()


def test_a_run_is_evaluated_by_the_convention_of_its_rewards(tmp_path: Path) -> None:
    toy.write_data(tmp_path / "data")

    def conventions(*more: str) -> list[str]:
        config = toy.config(tmp_path, tmp_path / "data", *more)
        return [task.verifier for task in evaluate.tasks(config)]

    assert conventions() == ["gsm8k"]
    assert conventions("verifier=math") == ["math"]


@pytest.mark.parametrize("bf16", ["false", "true"])
def test_tasks_are_asked_as_configured_and_the_distance_is_measured_on_fresh_outputs(
    bf16: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "MEASURED", 2)
    monkeypatch.setattr(answering, "OUTPUTS_AT_ONCE", 9)  # three questions, then the other two
    data = toy.write_data(tmp_path / "data")
    folders = [asked.write_policy(tmp_path / name, seed) for seed, name in enumerate(("a", "b"))]
    judge = RewardModel.from_backbone(folders[0] / "policy")
    judge.save(tmp_path / "judge")
    more = (
        "engine=asked",
        f"optimize.bf16={bf16}",
        "policy.prompt=gsm8k_8shot",
        "evaluate.samples=2",
        "evaluate.temperature=0.5",
        "evaluate.top_p=0.9",
        "evaluate.max_tokens=7",
        "evaluate.limit=5",
        f"evaluate.reward_model={tmp_path / 'judge'}",
    )
    output = tmp_path / "evaluate"
    output.mkdir()
    with checkpoint_engine.added(tmp_path / "engines", "asked", asked.SOURCE) as engine:
        config = toy.config(tmp_path, data, *more)
        inputs = {"policy": folders[0], "initial": folders[1]}
        job = Job("evaluate", 1, config, inputs, output, Progress(quiet=True))
        evaluate.run(job)
    stop = ("Q:",)
    greedy = Sampling(group_size=1, max_tokens=7, temperature=0.0, stop=stop)
    drawn = Sampling(group_size=2, max_tokens=7, temperature=0.5, top_p=0.9, stop=stop)
    fresh = Sampling(group_size=1, max_tokens=20, stop=stop)
    made = [dataclasses.replace(it, seed=0) for it in engine.ASKED]
    assert made == [greedy] * 3 + [drawn] * 3 + [greedy] * 2 + [drawn] * 2 + [fresh] * 2
    seeds = [it.seed for it in engine.ASKED]
    assert len({*seeds[3:6]}) == len({*seeds[8:10]}) == 1
    assert seeds[3] != seeds[8]
    assert seeds[3] == seeds[10] == job.seed
    assert len(toy.lines(output / "gsm8k.test.scores.jsonl")) == 10

    policy, initial = (policies.load(folder / "policy", PolicySettings())[0] for folder in folders)
    with policies.sampled(folders[0] / "policy", PolicySettings(), "native") as sampler:
        prompts, _ = evaluate.outputs(job, sampler)
        others, _ = evaluate.outputs(dataclasses.replace(job, iteration=2), sampler)
    assert [it.problem_id for it in prompts] != [it.problem_id for it in others]
    groups = [[Completion(it.problem_id, 0, "", (5, 6), Finish.STOP)] for it in prompts]
    moved = json.loads((output / "divergence.json").read_text())["kl_initial"]
    assert moved == pytest.approx(kl(policy, initial, prompts, groups), rel=1e-5)
    assert moved != pytest.approx(kl(initial, policy, prompts, groups), rel=1e-3)


def test_the_questions_of_a_limited_task_are_those_of_any_run(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    chosen = [
        evaluate.tasks(toy.config(tmp_path, data, "evaluate.limit=5", f"seed={seed}"))[0].problems
        for seed in (0, 3)
    ]
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 5


def test_tasks_are_asked_in_the_format_that_is_trained_on(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    (task,) = evaluate.tasks(toy.config(tmp_path, data, "policy.prompt=deepseek_math_cot"))
    assert task.prompt == "deepseek_math_cot"


@pytest.mark.parametrize("bf16", ["false", "true"])
def test_one_model_is_held_at_a_time(
    bf16: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "MEASURED", 2)
    loaded: list[weakref.ref[Any]] = []
    load = policies.load

    def watched(*given: Any) -> Any:
        assert not [model for model in loaded if model() is not None]
        model, tokenizer = load(*given)
        loaded.append(weakref.ref(model))
        return model, tokenizer

    monkeypatch.setattr(policies, "load", watched)
    data = toy.write_data(tmp_path / "data")
    folders = [asked.write_policy(tmp_path / name, seed) for seed, name in enumerate(("a", "b"))]
    (tmp_path / "evaluate").mkdir()
    more = (f"optimize.bf16={bf16}", "policy.prompt=gsm8k_8shot", "evaluate.limit=2")
    config = toy.config(tmp_path, data, *more)
    inputs = {"policy": folders[0], "initial": folders[1]}
    job = Job("evaluate", 1, config, inputs, tmp_path / "evaluate", Progress(quiet=True))
    evaluate.run(job)
    assert len(loaded) == (3 if bf16 == "true" else 2)
