"""Workers of a command that was killed: they end, and until then its folder is in use."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
import yaml

from pipelines import lifeline
from pipelines.runs import RunError, lock
from tests.pipelines import toy
from tests.pipelines.test_running import command, environment

psutil = pytest.importorskip("psutil")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="named pipes are POSIX")

FOLLOWER = """
import sys, time
from pathlib import Path
from pipelines import lifeline
lifeline.follow(Path(sys.argv[1]))
print("follows", flush=True)
time.sleep(60)
"""


def follower(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FOLLOWER, str(folder)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )


def test_who_follows_goes_when_nobody_holds(tmp_path: Path) -> None:
    with lifeline.held(tmp_path):
        early = follower(tmp_path)
        assert early.stdout is not None
        assert early.stdout.readline() == "follows\n"
        time.sleep(0.2)
        assert early.poll() is None
    assert early.wait(10) == lifeline.LOST
    late = follower(tmp_path)
    assert late.wait(30) == lifeline.LOST


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(done: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert process.poll() is None, "the command ended by itself"
        assert time.monotonic() < until
        time.sleep(0.1)


def locked(folder: Path) -> IO[str] | None:
    try:
        return lock(folder / "lock")
    except RunError:
        return None


@pytest.mark.slow
def test_a_killed_commands_folder_is_in_use_while_its_workers_live(tmp_path: Path) -> None:
    raw = toy.raw(tmp_path, toy.write_data(tmp_path / "data"))
    raw["policy"]["warm_start"]["steps"] = 1_000_000
    raw["launch"] = {"mode": "accelerate", "processes": 2}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(raw), encoding="utf-8")
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(command(config), env=environment(), stderr=errors)
    family = []
    try:
        # It works, and does so until it is stopped.
        wait_for(lambda: b"warm start" in log.read_bytes(), process, 120)
        family = psutil.Process(process.pid).children(recursive=True)
        ranks = [it for it in family if str(it.cmdline()[-1]).endswith("job.json")]
        assert len(ranks) == 3  # the launcher is told of it too
        process.kill()
        process.wait()
        until = time.monotonic() + 60
        while (held := locked(tmp_path / "run")) is None:
            assert time.monotonic() < until, "the folder stays in use"
            time.sleep(0.01)
        with held:
            assert not [it for it in ranks if alive(it)]
    finally:
        process.kill()
        for it in family:
            if alive(it):
                it.kill()
