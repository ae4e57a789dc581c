"""The label phase, cut off in the middle: it goes on where it stopped, and ends alike."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iterative_grpo import completions
from iterative_grpo.types import Completion, Finish, Sampling
from pipelines import artifacts, journal, launching
from pipelines.artifacts import WORK, Artifact, ArtifactError, partial, read_manifest
from pipelines.config import Config
from pipelines.datasets import arithmetic
from pipelines.phases import label, sample, start
from pipelines.progress import Bar, Progress
from pipelines.runs import Job, Run
from reward_models.types import read_solutions
from tests.pipelines import checkpoint_engine, toy
from tests.pipelines.phases import asked
from tests.pipelines.test_building import labeler

GROUP = 2
CHUNK = label.GROUPS_AT_ONCE * GROUP


class Killed(BaseException):
    """Stands for a signal: nothing in the program may catch it."""


class Counting(Progress):
    """Keeps how many solutions were labeled, and stops the phase after so many chunks."""

    def __init__(self, stop_after: int = 1_000) -> None:
        super().__init__(quiet=True)
        self.left = stop_after
        self.advanced: list[float] = []

    @contextlib.contextmanager
    def bar(self, label: str, total: float, unit: str) -> Iterator[Bar]:
        yield self

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.advanced.append(amount)
        if note:
            self.left -= 1
        if self.left == 0:
            raise Killed


def settings(folder: Path, data: Path, *more: str) -> Config:
    return toy.config(
        folder,
        data,
        "supervision=process",
        "label={labeler: monte_carlo, continuations: 4}",
        "sample={problems: 90, group_size: 2}",
        *more,
    )


def label_with(config: Config, progress: Progress) -> Artifact:
    """Run the phases up to the labels; the progress is the label phase's."""

    def run_phase(job: Job) -> None:
        launching.inline(replace(job, progress=progress) if job.phase == "label" else job)

    with Run(config, Progress(quiet=True), run_phase) as run:
        policy = run.do(start.PHASE, 0)
        samples = run.do(sample.PHASE, 1, policy=policy)
        return run.do(label.PHASE, 1, samples=samples, policy=policy)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Artifact:
    return label_with(settings(tmp_path_factory.mktemp("whole"), data), Progress(quiet=True))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every chunk when it is there."""
    monkeypatch.setattr(journal, "EVERY", 0.0)


def test_cut_off_labels_go_on_and_end_alike(tmp_path: Path, data: Path, whole: Artifact) -> None:
    config = settings(tmp_path, data)
    with pytest.raises(Killed):
        label_with(config, Counting(stop_after=2))
    unfinished = partial(config.run_dir / "iterations" / "01" / "label")
    with (unfinished / WORK / "journal.jsonl.rank0").open("ab") as file:
        file.write(b'{"version": 1, "problem_id": "gsm')
    again = Counting()
    artifact = label_with(config, again)
    # Two chunks were kept, what is left was labeled.
    assert again.advanced == [2 * CHUNK, 180 - 2 * CHUNK]
    assert artifact.fingerprint == whole.fingerprint
    assert not list(artifact.path.rglob("journal*"))


def test_other_settings_are_refused_while_it_is_unfinished(tmp_path: Path, data: Path) -> None:
    with pytest.raises(Killed):
        label_with(settings(tmp_path, data), Counting(stop_after=1))
    changed = settings(tmp_path, data, "label.continuations=2")
    with pytest.raises(ArtifactError, match=r"unfinished phase label.*continuations was 4 and is"):
        label_with(changed, Counting())


def test_labels_carry_their_origin_and_the_summary_what_they_cost(whole: Artifact) -> None:
    parts = ("labels", "validation", "heldout")
    rows = [row for part in parts for row in read_solutions(whole.path / f"{part}.jsonl")]
    completer = read_manifest(whole.path)["inputs"]["policy"]
    assert {(row.labeler, row.completer) for row in rows} == {("monte_carlo", completer)}
    summary: dict[str, Any] = json.loads((whole.path / "summary.json").read_text())
    assert summary["labels"] == sum(len(row.ends) - 1 for row in rows) > 0
    assert summary["tokens"] > 0
    assert summary["tokens_per_label"] == summary["tokens"] / summary["labels"]
    # A trial is a rollout, or one that another prefix or the group made.
    trials = {
        (row.problem_id, row.text[:end]): count[1]
        for row in rows
        for end, count in zip(row.ends[:-1], row.counts[:-1], strict=True)
    }
    assert sum(trials.values()) <= summary["rollouts"] + summary["reused"]
    assert 0 < summary["prefixes"] <= summary["labels"]


def test_prefixes_are_continued_as_the_policy_is_sampled(tmp_path: Path, data: Path) -> None:
    more = ("engine=asked", "policy.prompt=gsm8k_8shot", "sample.temperature=0.7", "max_tokens=9")
    asked.write_policy(artifacts.start(tmp_path / "start"))
    policy = artifacts.finish(tmp_path / "start", "start", {}, {}, dict)
    with checkpoint_engine.added(tmp_path / "engines", "asked", asked.SOURCE):
        config = settings(tmp_path, data, *more)
        job = Job("label", 3, config, {"policy": policy.path}, tmp_path, Progress(quiet=True))
        with label.tools(job, sample.drawn_in(config, 3)[:2]) as made_of:
            assert (made_of.iteration, made_of.completer) == (3, policy.fingerprint)
            assert made_of.continuing is not None
            assert made_of.continuing.sampling == Sampling(
                group_size=4, max_tokens=9, temperature=0.7, stop=("Q:",), seed=job.seed
            )


def test_steps_are_checked_by_the_data_set_where_it_can(tmp_path: Path) -> None:
    config = toy.config(tmp_path, tmp_path, "data.name=arithmetic", "data.limit=20")
    with label.tools(Job("label", 1, config, {}, tmp_path, Progress(quiet=True)), []) as made_of:
        assert made_of.check_steps is arithmetic.check_steps


OWN = """
from reward_models.labels import verdict
from reward_models.types import LabelCost


class Labeler:
    def __init__(self, tools):
        self.verdicts = verdict.build(tools)

    def label(self, *given):
        rows, _ = self.verdicts.label(*given)
        return {rows}, LabelCost(labels=len(rows), tokens=5)


def build(tools):
    return Labeler(tools)
"""


def sampled(folder: Path, data: Path, *more: str) -> Job:
    """Return a label phase of samples of two lines, every other one right."""
    config = toy.config(folder, data, "supervision=process", "label.labeler=own", *more)
    output = folder / "label"
    output.mkdir()
    job = Job(
        "label", 1, config, {"samples": folder, "policy": folder}, output, Progress(quiet=True)
    )
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as out:
        for problem in sample.questions_of(job):
            texts = [f"1+1=2\n#### {said}" for said in (problem.answer, 9) * 2]
            completions.write(
                out,
                [
                    Completion(problem.id, number, text, (5, 6), Finish.STOP)
                    for number, text in enumerate(texts)
                ],
            )
    return job


@pytest.mark.parametrize("returned", ["rows[::-1]", "rows[:-1]", "rows + rows[:1]"])
def test_a_labeler_that_returns_other_solutions_is_named(
    returned: str, tmp_path: Path, data: Path
) -> None:
    source = OWN.replace("{rows}", returned)
    with labeler(tmp_path / "labels", source), pytest.raises(label.OddLabels, match="labeler own"):
        label.run(sampled(tmp_path, data))


def test_processes_label_their_questions_and_add_up_what_it_cost(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with labeler(tmp_path / "labels", OWN.replace("{rows}", "rows")):
        job = sampled(tmp_path, data, "launch.mode=accelerate", "launch.processes=2")
        for rank in (1, 0):
            asked.be_process(monkeypatch, rank, of=2)
            label.run(job)
    summary = json.loads((job.output / "summary.json").read_text())
    assert summary["solutions"] == summary["labels"] == 24 * 4
    assert summary["tokens"] == 2 * 5
    assert summary["ends"] == 2 * 24 * 4
    assert summary["correct"] == 0.5
    parts = ("labels", "validation", "heldout")
    rows = [row for part in parts for row in read_solutions(job.output / f"{part}.jsonl")]
    assert len({row.problem_id for row in rows}) == 24
    assert sum(summary[f"{part}_rows"] for part in parts) == len(rows) == 24 * 4
    assert {row.iteration for row in rows} == {1}
    left = {it.name for it in job.output.iterdir()} - {f"{part}.jsonl" for part in parts}
    assert not any(name.startswith(("all", "cost")) for name in left)
