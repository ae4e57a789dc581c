"""An open run directory: its record is of what the folder holds."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from pipelines import preflight, run
from pipelines.artifacts import Artifact, ArtifactError
from pipelines.config import Config
from pipelines.progress import Progress
from pipelines.runs import Job, Phase, Run, RunError, lock, seed_of
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


def test_each_phase_of_each_iteration_and_run_draws_by_a_seed_of_its_own(
    tmp_path: Path, data: Path
) -> None:
    configs = [toy.config(tmp_path, data, f"seed={seed}") for seed in (0, 1)]
    seeds = [
        seed_of(config, iteration, phase)
        for config in configs
        for iteration in (1, 2, 11)
        for phase in ("sample", "label")
    ]
    assert len(set(seeds)) == len(seeds) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)


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


def test_a_phase_that_was_begun_by_as_many_processes_goes_on(tmp_path: Path, data: Path) -> None:
    with open_run(toy.config(tmp_path, data)) as opened:
        opened.start = fail
        with pytest.raises(RuntimeError, match="label failed"):
            opened.do(SECOND, 1)
    two = toy.config(tmp_path, data, "launch.mode=accelerate", "launch.processes=2")
    refused = pytest.raises(ArtifactError, match="processes was 1 and is now 2")
    with open_run(two) as opened, refused:
        opened.do(SECOND, 1)
    with open_run(toy.config(tmp_path, data)) as opened:
        finished = opened.do(SECOND, 1)
    # What is finished does not depend on how many made it.
    with open_run(two) as opened:
        assert opened.do(SECOND, 1) == finished


def test_every_start_is_recorded(tmp_path: Path, data: Path) -> None:
    for count, max_tokens in enumerate((20, 19), start=1):
        with open_run(toy.config(tmp_path, data, f"max_tokens={max_tokens}")) as opened:
            opened.do(FIRST, 1)
            opened.do(SECOND, count)
        assert starts(tmp_path / "run") == count
    (tmp_path / "run" / "run.json").write_text('{"starts": 2}', encoding="utf-8")
    with pytest.raises(RunError, match="starts is no list"), open_run(toy.config(tmp_path, data)):
        pass


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


@pytest.mark.parametrize("name", ["config.yaml", "report.html", "metrics/mine.csv", ".git/HEAD"])
def test_a_folder_of_something_else_is_left_alone(name: str, tmp_path: Path, data: Path) -> None:
    config = toy.config(tmp_path, data)
    own = config.run_dir / name
    own.parent.mkdir(parents=True)
    own.write_text("run_dir: run  # mine", encoding="utf-8")
    told = f"is not empty and holds no run .{name.partition('/')[0]}.*such as .*run/run"
    with pytest.raises(RunError, match=told), open_run(config):
        pass
    with pytest.raises(RunError, match=told):
        preflight.check(config, Progress(quiet=True))
    assert [file for file in config.run_dir.rglob("*") if file.is_file()] == [own]
    assert own.read_text(encoding="utf-8") == "run_dir: run  # mine"


def test_a_start_that_was_cut_off_early_holds_nothing_yet(tmp_path: Path, data: Path) -> None:
    config = toy.config(tmp_path, data)
    (config.run_dir / "metrics").mkdir(parents=True)
    (config.run_dir / "lock").write_text("12345", encoding="utf-8")
    with open_run(config):
        assert (config.run_dir / "run.json").exists()
    for phases in ("start", "iterations"):  # whose record was moved away
        (config.run_dir / "run.json").unlink()
        (config.run_dir / phases).mkdir()
        with open_run(config):
            assert (config.run_dir / "run.json").exists()
        (config.run_dir / phases).rmdir()


def test_a_lock_names_its_holder_alone(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1234567890123", encoding="utf-8")
    holder = re.escape(f"(process {os.getpid()})")
    with lock(tmp_path / "lock"), pytest.raises(RunError, match=holder):
        lock(tmp_path / "lock")


@pytest.mark.skipif(sys.platform == "win32", reason="children share open files on POSIX")
def test_a_lock_lives_until_the_last_child_that_was_given_it_ends(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"):
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
        )
    with pytest.raises(RunError, match="in use by another run"):
        lock(tmp_path / "lock")
    child.communicate(b"\n")
    lock(tmp_path / "lock").close()


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
