"""A run directory: its lock, its record, its phases' artifacts, its metrics."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

import yaml

from pipelines import artifacts, places
from pipelines.artifacts import Artifact
from pipelines.chosen import fingerprints
from pipelines.config import Config
from pipelines.progress import Progress

PACKAGES = (
    "iterative-grpo",
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "datasets",
    "sympy",
    "scikit-learn",
    "peft",
    "vllm",
)

_OF_A_RUN = ("run.json", "start", "iterations")

LOCKED_BYTE = 2**30
"""What Windows locks of a lock file: far behind its text, which nobody else could read else."""


class RunError(RuntimeError):
    """A run directory that cannot be used: in use, not writable, or of another kind."""


def seed_of(config: Config, iteration: int, phase: str) -> int:
    """Return the seed of a phase of an iteration: it depends on nothing but these."""
    text = f"{config.seed}/{iteration}/{phase}"
    return int(artifacts.fingerprint_of(text)[:8], 16) % 2**31


@dataclass(frozen=True, slots=True)
class Job:
    """One phase of one iteration: what it may read, and the folder it fills."""

    phase: str
    iteration: int
    config: Config
    inputs: Mapping[str, Path]
    output: Path
    progress: Progress

    @property
    def seed(self) -> int:
        """A seed of the phase's own, so that a resumed phase draws what an unbroken one draws."""
        return seed_of(self.config, self.iteration, self.phase)


@dataclass(frozen=True, slots=True)
class Phase:
    """What the driver needs to know of a phase.

    `settings` picks the part of the configuration that its result depends on; `resumable` says
    that it can go on in a partial folder.
    """

    name: str
    settings: Callable[[Config], Mapping[str, Any]]
    resumable: bool = False


@dataclass
class Run:
    """An open run directory. Use as a context: the lock is held inside.

    `findings` are JSON files to keep beside the configuration, by name.
    """

    config: Config
    progress: Progress
    start: Callable[[Job], None]
    findings: Mapping[str, object] = field(default_factory=dict)
    _lock: IO[str] | None = None
    _recorded: bool = False

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.config.run_dir

    def __enter__(self) -> Run:
        check_folder(self.path)
        try:
            (self.path / "metrics").mkdir(parents=True, exist_ok=True)
            self._lock = lock(self.path / "lock")
            self._record_start()
        except OSError as error:
            raise RunError(f"run_dir {self.path} cannot be written to: {error}") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def _record_start(self) -> None:
        """Add this start to those of run.json, whatever becomes of it."""
        file = self.path / "run.json"
        before = artifacts.read_json(file, "it away to go on without") if file.exists() else {}
        starts = before.get("starts", [])
        if not isinstance(starts, list):
            raise RunError(f"{file} is damaged: starts is no list. Move it away to go on without")
        made_of = fingerprints(self.config)
        start = {"at": _now(), "command": sys.argv, "versions": versions(), "plugins": made_of}
        known = [it["plugins"] for it in starts if isinstance(it, dict) and "plugins" in it]
        for name in made_of if known else ():
            if known[-1].get(name, made_of[name]) != made_of[name]:
                self.progress.note(
                    f"{name}: its file has changed since this run was started last; phases that "
                    "are finished were made with the other one, and are kept"
                )
        artifacts.write_json(file, {**before, "starts": [*starts, start]})

    def record(self) -> None:
        """Write settings, seed, versions and findings; `do` does it before it makes a phase.

        Not sooner: a command that is refused leaves the record of what is in the folder.
        """
        if self._recorded:
            return
        settings = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
        artifacts.write_bytes(self.path / "config.yaml", [settings.encode()])
        file = self.path / "run.json"
        starts = json.loads(file.read_text(encoding="utf-8"))["starts"]
        about = {"seed": self.config.seed, "versions": versions(), "starts": starts}
        artifacts.write_json(file, about)
        for name, found in self.findings.items():
            artifacts.write_json(self.path / name, found)
        self._recorded = True

    def do(self, phase: Phase, iteration: int, **inputs: Artifact | None) -> Artifact:
        """Return the phase's artifact: the finished one that is there, or a new one."""
        started = time.perf_counter()
        given = {name: artifact for name, artifact in inputs.items() if artifact is not None}
        place = places.phase(self.path, iteration, phase.name)
        settings = {"seed": self.config.seed, **phase.settings(self.config)}
        fingerprints = {name: artifact.fingerprint for name, artifact in given.items()}
        name = f"{phase.name} of iteration {iteration}"
        finished = artifacts.existing(place, name, settings, fingerprints)
        if finished is not None:
            self.progress.note(f"{phase.name}: finished before, kept")
            return finished
        self.progress.note(f"iteration {iteration}: {phase.name}")
        if phase.resumable:
            # What each process has written so far is its own: as many have to go on.
            begun = {**settings, "processes": self.config.launch.processes}
            output = artifacts.resume(place, name, begun, fingerprints)
        else:
            output = artifacts.start(place)
        self.record()
        self.start(
            Job(
                phase=phase.name,
                iteration=iteration,
                config=self.config,
                inputs={name: artifact.path for name, artifact in given.items()},
                output=output,
                progress=self.progress,
            )
        )

        def facts() -> dict[str, Any]:
            seconds = round(time.perf_counter() - started, 3)
            return {"seconds": seconds, "finished": _now(), "versions": versions()}

        return artifacts.finish(place, phase.name, settings, fingerprints, facts)


def check_folder(path: Path) -> None:
    """Refuse, by RunError, a folder that holds something and no run: a file of it might go."""
    if not path.is_dir() or any((path / name).exists() for name in _OF_A_RUN):
        return
    # A start that was cut off before its record leaves a lock and a folder with nothing in it.
    empty = [path / "metrics"] if not list((path / "metrics").glob("*")) else []
    found = sorted(it.name for it in path.iterdir() if it not in (path / "lock", *empty))
    if found:
        raise RunError(
            f"run_dir {path} is not empty and holds no run ({', '.join(found[:3])}"
            f"{', ...' if len(found) > 3 else ''}); give another folder, such as {path / 'run'}"
        )


@cache
def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def lock(path: Path) -> IO[str]:
    """Hold a lock that the operating system drops when the process ends, however it ends.

    Where a child is given the open file, the lock lives until the child ends too.
    """
    handle = path.open("a+", encoding="utf-8")
    try:
        if sys.platform == "win32":
            import msvcrt

            # What is locked begins where the file stands, which after opening is its end.
            handle.seek(LOCKED_BYTE)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        holder = handle.read().strip()
        handle.close()
        raise RunError(
            f"{path.parent} is in use by another run{f' (process {holder})' if holder else ''}; "
            "wait for it, stop it, or give another run_dir"
        ) from None
    handle.seek(0)
    handle.truncate()
    handle.write(str(os.getpid()))
    handle.flush()
    os.set_inheritable(handle.fileno(), True)
    return handle
