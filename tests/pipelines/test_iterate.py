"""Which artifact each phase of an iteration is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.iterate import iterate
from pipelines.progress import Progress
from pipelines.runs import Job, Run
from tests.pipelines import toy

SHOWN = {
    "label": {"summary.json": "{}"},
    "retrain": {
        "diagnostics.json": '{"after": {"bins": []}, "heldout_rows": 1}',
        "replay.json": "{}",
    },
}
"""What the run's metrics read of a phase."""


class Phases:
    """Phases that write next to nothing, and keep where their inputs lie."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        config = toy.config(folder, toy.write_data(folder / "data"), *overrides)
        self.given: dict[tuple[int, str], dict[str, str]] = {}
        self.evaluated: dict[tuple[int, str], list[int]] = {}
        with Run(config, Progress(quiet=True), self.run) as run:
            self.path = run.path
            self.policy = self.place(iterate(run).path)

    def place(self, path: Path) -> str:
        return str(path.relative_to(self.path)).removeprefix("iterations/")

    def run(self, job: Job) -> None:
        self.path = job.config.run_dir
        key = job.iteration, job.phase
        self.given[key] = {name: self.place(path) for name, path in job.inputs.items()}
        metrics = self.path / "metrics" / "iterations.jsonl"
        rows = toy.lines(metrics) if metrics.exists() else []
        self.evaluated[key] = [row["iteration"] for row in rows]
        for name, text in {"made.txt": str(key), **SHOWN.get(job.phase, {})}.items():
            (job.output / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Phases:
    return Phases(tmp_path_factory.mktemp("run"), "iterations=3")


def test_the_policy_that_is_to_be_improved_is_sampled_and_labels_its_samples(
    phases: Phases,
) -> None:
    for iteration, policy in ((1, "start"), (2, "01/optimize"), (3, "02/optimize")):
        assert phases.given[iteration, "sample"] == {"policy": policy}
        samples = f"{iteration:02d}/sample"
        assert phases.given[iteration, "label"] == {"policy": policy, "samples": samples}


def test_the_reward_model_goes_on_from_the_last_one_with_the_labels_before_as_history(
    phases: Phases,
) -> None:
    assert phases.given[1, "retrain"] == {"policy": "start", "labels": "01/label"}
    assert phases.given[3, "retrain"] == {
        "policy": "start",
        "labels": "03/label",
        "reward_model": "02/retrain",
        "history_01": "01/label",
        "history_02": "02/label",
    }


def test_the_policy_is_improved_by_the_newest_reward_model_and_evaluated(phases: Phases) -> None:
    for iteration, policy in ((1, "start"), (2, "01/optimize"), (3, "02/optimize")):
        assert phases.given[iteration, "optimize"] == {
            "policy": policy,
            "initial": "start",
            "reward_model": f"{iteration:02d}/retrain",
            "samples": f"{iteration:02d}/sample",
        }
        new = f"{iteration:02d}/optimize"
        assert phases.given[iteration, "evaluate"] == {"policy": new, "initial": "start"}
    assert phases.given[0, "evaluate"] == {"policy": "start"}
    assert phases.policy == "03/optimize"


def test_metrics_are_there_as_soon_as_an_iteration_is_evaluated(phases: Phases) -> None:
    assert phases.evaluated[0, "evaluate"] == []
    assert phases.evaluated[1, "sample"] == [0]
    assert phases.evaluated[3, "sample"] == [0, 1, 2]


def test_without_a_reward_model_there_is_nothing_to_sample_or_label(tmp_path: Path) -> None:
    phases = Phases(tmp_path, "iterations=2", "reward=verifier")
    assert [name for _, name in phases.given] == [
        "start", "evaluate", "optimize", "evaluate", "optimize", "evaluate",
    ]  # fmt: skip
    assert phases.given[2, "optimize"] == {"policy": "01/optimize", "initial": "start"}
