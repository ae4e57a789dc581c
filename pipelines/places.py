"""Where the files of a run lie: RUN/start and RUN/iterations/NN/PHASE."""

from __future__ import annotations

from pathlib import Path


def phase(run: Path, iteration: int, name: str) -> Path:
    """Return the folder of a phase; the start belongs to no iteration."""
    if name == "start":
        return run / name
    return run / "iterations" / f"{iteration:02d}" / name


def iterations(run: Path) -> list[Path]:
    """Return the iterations' folders in order of their numbers: 100 comes after 99."""
    found = (folder for folder in (run / "iterations").glob("*") if folder.name.isdecimal())
    return sorted(found, key=lambda folder: int(folder.name))


def rollouts(run: Path, iteration: int) -> Path:
    """Return the file of what a policy phase sampled."""
    return phase(run, iteration, "optimize") / "rollouts.jsonl"


def with_rollouts(run: Path) -> list[int]:
    """Return the numbers of the iterations whose rollouts are there, ascending."""
    numbers = (int(folder.name) for folder in iterations(run))
    return [number for number in numbers if rollouts(run, number).is_file()]
