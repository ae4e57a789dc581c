"""What an evaluation of a run depends on."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipelines.phases import evaluate
from tests.pipelines import toy


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
