"""What is checked before any compute is spent: fields, engine, data, golds, rewards, disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipelines import (
    decontamination,
    policies,
    published,
    questions,
    trackers,
    trl_settings,
    unloaded,
)
from pipelines.config import Config
from pipelines.progress import Progress
from pipelines.runs import RunError

LEAST_DISK = 64 * 2**20


def check(config: Config, progress: Progress) -> None:
    """Load every split that the run will read, and look for room; say what was found."""
    from pipelines.phases.evaluate import tasks

    trl_settings.check(config)
    trackers.check(config.report_to)
    unloaded.check(config)
    policies.check_engine(config.engine)
    room(config.run_dir)
    split = questions.training(config)
    progress.note(
        f"train on {split.name}: {len(split.problems)} problems, "
        f"sha256 {split.fingerprint[:12]} ({split.source})"
        f"{'; ' + split.note if split.note else ''}"
    )
    if split.rejected:
        shown = "; ".join(split.rejected[:3])
        progress.note(f"left out for unreadable golds: {len(split.rejected)} ({shown})")
    if config.reward == "published":
        for line in published.check(config, split.problems):
            progress.note(line)
    for task in tasks(config):
        progress.note(f"evaluate on {task.line}")
    for line in decontamination.lines(questions.contamination(config)):
        progress.note(line)


def room(run_dir: Path) -> None:
    """Refuse a disk that is as good as full."""
    existing = next(p for p in (run_dir, *run_dir.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < LEAST_DISK:
        raise RunError(
            f"{existing} has {free / 2**20:.0f} MiB free, at least {LEAST_DISK // 2**20} are "
            "needed; make room or give another run_dir"
        )
