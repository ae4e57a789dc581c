"""Step checkpoints of a policy phase: one that was cut off, or has lost a file, does not count.

transformers writes a checkpoint file by file under its final name. It counts once a record of its
files lies in it; the checkpoint before it is removed then, and not sooner.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pipelines.artifacts import ArtifactError, flush, read_json, write_json

RECORD = "whole.json"


def last(folder: Path) -> Path | None:
    """Return the newest checkpoint that is whole, None if there is none."""
    return max(filter(_is_whole, _all(folder)), key=step, default=None)


def step(checkpoint: Path) -> int:
    """Return the optimizer step that a checkpoint was taken behind."""
    return int(checkpoint.name.rpartition("-")[2])


def seal(folder: Path, at: int) -> None:
    """Record the files of step `at`'s checkpoint, which every process has written by now."""
    checkpoint = folder / f"checkpoint-{at}"
    files = [file for file in sorted(checkpoint.rglob("*")) if file.is_file()]
    for file in files:
        flush(file)
    sizes = {file.relative_to(checkpoint).as_posix(): file.stat().st_size for file in files}
    write_json(checkpoint / RECORD, sizes)
    keep_only(folder, checkpoint)


def keep_only(folder: Path, checkpoint: Path | None) -> None:
    """Remove all other checkpoints: what is left of one would mix with one of the same step."""
    for other in _all(folder):
        if other != checkpoint:
            shutil.rmtree(other)


def _all(folder: Path) -> list[Path]:
    return [it for it in folder.glob("checkpoint-*") if it.name.rpartition("-")[2].isdecimal()]


def _is_whole(checkpoint: Path) -> bool:
    try:
        sizes = read_json(checkpoint / RECORD, "the checkpoint away")
        found = [(checkpoint / name).stat().st_size == size for name, size in sizes.items()]
    except (OSError, ArtifactError):
        return False
    return bool(found) and all(found)
