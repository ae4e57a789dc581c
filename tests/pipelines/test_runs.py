"""An open run directory: its record is of what the folder holds."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pipelines import run
from pipelines.artifacts import Artifact, ArtifactError
from pipelines.config import Config
from pipelines.progress import Progress
from pipelines.runs import Job, Phase, Run, RunError, lock
from tests.pipelines import toy

RECORD = ("config.yaml", "decontamination.json")

FIRST = Phase("sample", lambda config: {"problems": config.sample.problems})
SECOND = Phase("label", lambda config: {"max_tokens": config.max_tokens}, resumable=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return toy.write_data(tmp_path / "data")


def write(job: Job) -> None:
    (job.output / "made.txt").write_text(f"{job.phase} {job.seed}", encoding="utf-8")


def fail(job: Job) -> None:
    raise RuntimeError(f"{job.phase} failed")


def open_run(config: Config, found: object = "nothing") -> Run:
    return Run(config, Progress(quiet=True), write, {"decontamination.json": found})


def both(opened: Run) -> Artifact:
    first = opened.do(FIRST, 1)
    return opened.do(SECOND, 1, first=first)


def recorded(folder: Path) -> dict[str, object]:
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    files = {name: (folder / name).read_text(encoding="utf-8") for name in RECORD}
    return {**files, "seed": about["seed"], "versions": about["versions"]}


def starts(folder: Path) -> int:
    return len(json.loads((folder / "run.json").read_text(encoding="utf-8"))["starts"])


@pytest.mark.parametrize("changed", ["seed=7", "sample.problems=20", "max_tokens=19"])
def test_a_refused_command_leaves_the_record(changed: str, tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    with open_run(toy.config(tmp_path, data)) as opened:
        both(opened)
    before = recorded(folder)
    assert before["seed"] == 0
    refused = pytest.raises(ArtifactError, match="was made with other settings")
    with open_run(toy.config(tmp_path, data, changed), "other") as opened, refused:
        both(opened)
    assert recorded(folder) == before
    assert starts(folder) == 2


def test_a_phase_that_was_begun_otherwise_leaves_the_record(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    with open_run(toy.config(tmp_path, data)) as opened:
        opened.do(FIRST, 1)
        opened.start = fail
        with pytest.raises(RuntimeError, match="label failed"):
            both(opened)
    before = recorded(folder)
    refused = pytest.raises(ArtifactError, match="was begun with other settings")
    with open_run(toy.config(tmp_path, data, "max_tokens=19"), "other") as opened, refused:
        both(opened)
    assert recorded(folder) == before


def test_what_an_accepted_command_changes_is_recorded_before_it_works(
    tmp_path: Path, data: Path
) -> None:
    folder = tmp_path / "run"
    with open_run(toy.config(tmp_path, data)) as opened:
        opened.do(FIRST, 1)
    seen: dict[str, object] = {}

    def look(job: Job) -> None:
        seen.update(recorded(folder))
        write(job)

    with open_run(toy.config(tmp_path, data, "max_tokens=19"), "other") as opened:
        opened.start = look
        both(opened)
    assert yaml.safe_load(str(seen["config.yaml"]))["max_tokens"] == 19
    assert json.loads(str(seen["decontamination.json"])) == "other"


@pytest.mark.slow
def test_the_record_of_a_finished_run(tmp_path: Path, data: Path) -> None:
    small = ("reward=verifier", "iterations=1", "optimize.steps=2", "policy.warm_start.steps=5")
    folder = tmp_path / "run"

    def settings() -> Mapping[str, object]:
        found: dict[str, object] = yaml.safe_load((folder / "config.yaml").read_text())
        return found

    run(toy.config(tmp_path, data, *small), quiet=True)
    before = recorded(folder)
    # The last phase but one is the first to differ.
    with pytest.raises(ArtifactError, match="optimize of iteration 1"):
        run(toy.config(tmp_path, data, *small, "optimize.learning_rate=1e-4"), quiet=True)
    with pytest.raises(ArtifactError, match="start of iteration 0"):
        run(toy.config(tmp_path, data, *small, "seed=7", "data.decontaminate=null"), quiet=True)
    assert recorded(folder) == before
    # No phase depends on it: accepted, though nothing is left to be made.
    run(toy.config(tmp_path, data, *small, "optimize.checkpoint_every=7"), quiet=True)
    optimize = settings()["optimize"]
    assert isinstance(optimize, dict)
    assert optimize["checkpoint_every"] == 7


def test_a_lock_of_windows_keeps_others_out_and_says_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: set[tuple[int, int]] = set()

    def locking(file: int, mode: int, count: int) -> None:
        """Lock bytes from the file's position on, as msvcrt's documentation says."""
        first = os.fstat(file).st_ino, os.lseek(file, 0, os.SEEK_CUR)
        if first in held:
            raise OSError(errno.EACCES, "locked")
        held.add(first)

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with lock(tmp_path / "lock") as first:
        assert all(byte > 100 for _, byte in held)  # nobody else may read what is locked
        with pytest.raises(RunError, match=rf"in use by another run \(process {os.getpid()}\)"):
            lock(tmp_path / "lock")
        assert not first.closed
