"""The main job over several seeds and arms: the pictures and tables of docs/main_job.md.

    python benchmarks/iterative.py --seeds 0-4 --arms frozen,iterative,no-replay --jobs 3

Every run is the command that a user would type. Runs that are finished are not repeated, runs that
were cut off go on, so the script can be stopped and started again. Arms of one seed begin with the
same policy: it is made once, its time counts in each of them.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from iterative_report import tables

from pipelines import report
from pipelines.artifacts import MANIFEST
from pipelines.report.run import NoRun, number, read

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "pipelines/configs/arithmetic.yaml"


@dataclass(frozen=True, slots=True)
class Arm:
    """What is compared: a name for people, and the settings that make the difference."""

    title: str
    settings: tuple[str, ...] = ()


FROZEN = "reward_model.retrain=false"
PROCESS = "supervision=process"
ARMS = {
    "frozen": Arm("Reward model frozen", (FROZEN,)),
    "iterative": Arm("Reward model retrained each iteration"),
    "no-replay": Arm("Retrained without replay", ("reward_model.replay.kind=none",)),
    "divided": Arm("Retrained, advantages divided by deviation", ("optimize.scale=group",)),
    "frozen-process": Arm("Process reward model frozen", (PROCESS, FROZEN)),
    "iterative-process": Arm("Process reward model retrained each iteration", (PROCESS,)),
}


@dataclass(frozen=True, slots=True)
class Job:
    """One run: its arm, its seed, and where it lies."""

    arm: str
    seed: int
    folder: Path


def main() -> int:
    """Run what is missing, then draw and tabulate what is there."""
    options = parser().parse_args()
    jobs = [
        Job(arm, seed, options.runs / f"{arm}-{seed}")
        for arm in options.arms
        for seed in options.seeds
    ]
    waiting = [job for job in jobs if not finished(job.folder)]
    print(f"{len(jobs)} runs, {len(jobs) - len(waiting)} of them finished before", flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        done = list(pool.map(lambda job: execute(job, options), waiting))
    if not all(done):
        print("some runs failed; the same command goes on with them", file=sys.stderr)
        return 1
    runs = {arm: [job.folder for job in jobs if job.arm == arm] for arm in options.arms}
    picture = report.compare_runs(
        {ARMS[arm].title: folders for arm, folders in runs.items()}, options.picture
    )
    accuracy = report.compare_accuracy(
        {ARMS[arm].title: folders for arm, folders in runs.items()}, options.accuracy_picture
    )
    text = tables({ARMS[arm].title: [read(it) for it in found] for arm, found in runs.items()})
    print(f"\n{text}\npictures: {picture}, {accuracy}")
    if options.table is not None:
        options.table.write_text(text, encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    top.add_argument("--seeds", type=seeds, default=seeds("0-4"), help="for example 0-4 or 0,3,7")
    top.add_argument("--arms", type=arms, default=arms("frozen,iterative"), help=", ".join(ARMS))
    top.add_argument("--jobs", type=int, default=2, help="runs at a time")
    top.add_argument("--threads", type=int, default=1, help="threads of a run")
    top.add_argument("--config", default=CONFIG)
    top.add_argument(
        "--runs", type=Path, default=ROOT / "runs" / "iterative", help="where runs lie"
    )
    top.add_argument(
        "--picture",
        type=Path,
        default=ROOT / "docs" / "images" / "frozen_vs_iterative.png",
        help="where score and truth over policy steps are drawn",
    )
    top.add_argument(
        "--accuracy-picture",
        type=Path,
        default=ROOT / "docs" / "images" / "accuracy_by_samples.png",
        help="where held-out accuracy over sampled outputs is drawn",
    )
    top.add_argument("--table", type=Path, help="write the Markdown tables here too")
    top.add_argument("overrides", nargs="*", metavar="key.path=value", help="settings of all runs")
    return top


def seeds(text: str) -> list[int]:
    """Read 0-4 or 0,3,7 or both."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        found += range(int(first), int(last) + 1) if dash else [int(first)]
    return found


def arms(text: str) -> list[str]:
    """Read names of arms."""
    unknown = [name for name in text.split(",") if name not in ARMS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown arm {unknown[0]}; known: {', '.join(ARMS)}")
    return text.split(",")


def finished(folder: Path) -> bool:
    """Whether a run has evaluated its last iteration and written its report."""
    try:
        run = read(folder)
    except NoRun:
        return False
    last = max((number(row, "iteration") or 0 for row in run.iterations), default=-1)
    return last == run.setting("iterations") and (folder / "report.html").exists()


def borrow_start(job: Job, options: argparse.Namespace) -> None:
    """Copy the initial policy of another arm with the same seed, where one is finished.

    The run itself checks that its settings are the ones this policy was made with.
    """
    target = job.folder / "start"
    for arm in options.arms:
        source = options.runs / f"{arm}-{job.seed}" / "start"
        if (source / MANIFEST).exists() and not target.exists():
            partial = options.runs / f".{job.folder.name}.start"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial)
            job.folder.mkdir(exist_ok=True)
            partial.rename(target)


def execute(job: Job, options: argparse.Namespace) -> bool:
    """Run one job to its end; its output goes to a log beside its folder."""
    started = time.perf_counter()
    options.runs.mkdir(parents=True, exist_ok=True)
    borrow_start(job, options)
    log = options.runs / f"{job.folder.name}.log"
    settings = [f"run_dir={job.folder}", f"seed={job.seed}", *ARMS[job.arm].settings]
    command = ["-m", "pipelines.cli", "run", options.config, *settings, *options.overrides]
    with log.open("a", encoding="utf-8") as out:
        code = subprocess.run(
            [sys.executable, *command, "--quiet"],
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
        ).returncode
    minutes = (time.perf_counter() - started) / 60
    how = "done" if code == 0 else f"failed with exit code {code}, see {log}"
    print(f"{job.arm}, seed {job.seed}: {how} after {minutes:.1f} min", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
