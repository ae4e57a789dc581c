"""Writes a comparison's files, each whole or not at all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts import fingerprint_of
from pipelines.comparison import page
from pipelines.comparison.answers import Side
from pipelines.comparison.comparing import Comparison, NotComparable, TaskComparison
from pipelines.report.writing import replace

RECORD, PAGE = "comparison.json", "comparison.html"


def default_folder(first: Side, second: Side) -> Path:
    """Return where a comparison goes by itself: another folder for every pair of folders."""
    places = [str(Path(side.place).resolve()) for side in (first, second)]
    return Path("comparisons") / f"{first.name}-{second.name}-{fingerprint_of(places)[:8]}"


def check(folder: Path) -> None:
    """Refuse a folder that holds something else than a comparison."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).exists():
        raise NotComparable(
            f"{folder} is not empty and holds no comparison; give --output another folder"
        )


def write(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Write comparison.json and comparison.html; those of an earlier comparison are replaced."""
    record = {
        "A": comparison.first.place,
        "B": comparison.second.place,
        "tasks": {task.task: _task(task) for task in comparison.tasks},
        "notes": comparison.notes,
    }
    replace(folder / PAGE, page.render(comparison).encode("utf-8"))
    content = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    replace(folder / RECORD, content.encode("utf-8", "backslashreplace") + b"\n")
    return folder / PAGE, folder / RECORD


def _task(task: TaskComparison) -> Mapping[str, Any]:
    row = dataclasses.asdict(task)
    for change, found in zip((row["correct"], *row["fates"]), (task.correct, *task.fates),
                             strict=True):  # fmt: skip
        if found is not None:
            change["p"] = found.p
    return row
