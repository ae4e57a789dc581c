"""The label phase, cut off in the middle: it goes on where it stopped, and ends alike."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines import launching
from pipelines.artifacts import WORK, Artifact, ArtifactError, partial, read_manifest
from pipelines.config import Config
from pipelines.phases import label, sample, start
from pipelines.progress import Bar, Progress
from pipelines.runs import Job, Run
from reward_models.types import read_solutions
from tests.pipelines import toy

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


def test_cut_off_labels_go_on_and_end_alike(tmp_path: Path, data: Path, whole: Artifact) -> None:
    config = settings(tmp_path, data)
    with pytest.raises(Killed):
        label_with(config, Counting(stop_after=2))
    unfinished = partial(config.run_dir / "iterations" / "01" / "label")
    with (unfinished / WORK / "journal.jsonl.rank0").open("ab") as journal:
        journal.write(b'{"version": 1, "problem_id": "gsm')
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
