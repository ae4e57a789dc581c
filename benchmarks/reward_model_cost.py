"""What retraining the reward model costs in iteration 20 against iteration 2, same fresh samples.

    python benchmarks/reward_model_cost.py
    python benchmarks/reward_model_cost.py --repeats 9 --late 50 --json cost.json

The retrain phase of the main job runs as it is: replay, training, measuring the old and the new
model on fresh and on past held-out solutions, probes, gate. Its history is synthetic: solutions of
the arithmetic task with the warm start's mistakes, as many in every iteration. Each run is a
process of its own, on one thread; early and late runs alternate. Reported are medians of processor
seconds of the phase and of the process's peak memory, and the median ratio of neighbouring runs.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.config import Config
    from pipelines.runs import Job

EARLY = 2


def main() -> None:
    """Prepare a history, run early and late in turn, print the table."""
    options = parse()
    if options.child:
        print(json.dumps(one(Path(options.child), options.late)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, options.late)
        found: dict[int, list[dict[str, float]]] = {EARLY: [], options.late: []}
        for repeat in range(options.repeats):
            # Which one goes first changes, so that neither has the warmer cache.
            for iteration in sorted(found, reverse=repeat % 2 == 1):
                found[iteration].append(child(folder, iteration))
                shown = found[iteration][-1]
                print(
                    f"repeat {repeat + 1}, iteration {iteration:2}: {shown['seconds']:.2f} s of "
                    f"processor, {shown['wall']:.2f} s, peak {shown['peak'] / 2**20:.0f} MiB, "
                    f"{shown['rows']:.0f} training rows, {shown['frozen']:.0f} past rows scored",
                    flush=True,
                )
    print(table(found[EARLY], found[options.late], options.late))
    if options.json:
        options.json.write_text(json.dumps(found) + "\n", encoding="ascii")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each iteration")
    parser.add_argument("--late", type=int, default=20, help="the iteration beside iteration 2")
    parser.add_argument("--json", type=Path, help="write every run's figures there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def settings(folder: Path) -> Config:
    """Return the main job's settings."""
    from pipelines import settings

    return settings.load(settings.locate(Path("arithmetic")), [f"run_dir={folder / 'run'}"])


def prepare(folder: Path, late: int) -> None:
    """Write a policy, a first reward model of its shape, and labels of all iterations."""
    from pipelines import dividing, making, questions
    from pipelines.runs import Job
    from reward_models.history import write_labels
    from reward_models.model import RewardModel

    config = settings(folder)
    problems = questions.training(config).problems
    division = dividing.division(config)
    texts = [f"{problem.question}\n" for problem in problems[:2000]] + ["0123456789+-*=# \n" * 2]
    tokenizer = making.make_tokenizer("words", texts, 2048)
    policy = making.make_policy(tokenizer, making.ModelShape(), 0)
    for place in (policy, tokenizer):
        place.save_pretrained(folder / "start" / "policy")
    RewardModel.from_shape(folder / "start" / "policy").save(folder / "judge" / "model")
    for iteration in (*range(1, late), late + 1):
        # The last one is fresh, and is copied to both: the same samples in either iteration.
        job = Job("sample", iteration, config, {}, folder, quiet())
        drawn = questions.draw(problems, config.sample.problems, job.seed)
        rows = [row for problem in drawn for row in solutions(problem, iteration, config)]
        for at in (EARLY, late) if iteration > late else (iteration,):
            own = f"fresh{at}" if iteration > late else f"past{at}"
            (folder / own).mkdir()
            for part, kept in division.divide(rows).items():
                dated = (replaced(row, at) for row in kept)
                write_labels(folder / own / f"{part.value}.jsonl", dated)


def solutions(problem: Any, iteration: int, config: Config) -> list[Any]:
    """Return a group of solutions with the warm start's mistakes, labeled by their answers."""
    from pipelines.datasets import arithmetic
    from reward_models.types import LabeledSolution

    draw = random.Random(f"{iteration}/{problem.id}")
    rows = []
    for _ in range(config.sample.group_size):
        text = arithmetic.faulty_demonstration(problem, draw)
        right = text.rpartition("#### ")[2] == problem.answer
        rows.append(
            LabeledSolution(
                problem_id=problem.id,
                question=problem.question,
                text=text,
                ends=(len(text),),
                labels=(float(right),),
                counts=((int(right), 1),),
                iteration=iteration,
                labeler="verdict",
                completer="",
                correct=right,
                finished=True,
            )
        )
    return rows


def replaced(row: Any, iteration: int) -> Any:
    """Return the row as one of another iteration."""
    import dataclasses

    return dataclasses.replace(row, iteration=iteration)


def quiet() -> Any:
    """Return a progress that says nothing."""
    from pipelines.progress import Progress

    return Progress(quiet=True)


def child(folder: Path, iteration: int) -> dict[str, float]:
    """Run one iteration's phase in a process of its own; return its figures."""
    command = [sys.executable, __file__, "--child", str(folder), "--late", str(iteration)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(folder: Path, iteration: int) -> dict[str, float]:
    """Run the retrain phase of an iteration on the prepared history."""
    import torch

    from pipelines.phases import retrain

    torch.set_num_threads(1)
    job = job_of(folder, iteration)
    wall, started = time.perf_counter(), time.process_time()
    retrain.run(job)
    seconds, wall = time.process_time() - started, time.perf_counter() - wall
    found = json.loads((job.output / "diagnostics.json").read_text(encoding="utf-8"))
    replay = json.loads((job.output / "replay.json").read_text(encoding="utf-8"))
    return {
        "seconds": seconds,
        "wall": wall,
        # Linux counts in KiB, macOS in bytes.
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
        "rows": replay["fresh"] + replay["replayed"],
        "frozen": found["frozen"]["after"]["rows"],
    }


def job_of(folder: Path, iteration: int) -> Job:
    """Return the phase's job with the history before the iteration."""
    from pipelines.runs import Job

    inputs = {
        "policy": folder / "start",
        "reward_model": folder / "judge",
        "labels": folder / f"fresh{iteration}",
        **{f"history_{past:02d}": folder / f"past{past}" for past in range(1, iteration)},
    }
    output = Path(tempfile.mkdtemp(dir=folder))
    return Job("retrain", iteration, settings(folder), inputs, output, quiet())


def table(early: list[dict[str, float]], late: list[dict[str, float]], iteration: int) -> str:
    """Return medians and the median ratio of neighbouring runs."""
    lines = [f"{'':24}{'iteration 2':>14}{f'iteration {iteration}':>14}{'ratio':>8}"]
    for key, unit, name in (
        ("seconds", 1.0, "processor seconds"),
        ("wall", 1.0, "seconds"),
        ("peak", 2.0**20, "peak memory, MiB"),
    ):
        one_way, other = ([run[key] / unit for run in runs] for runs in (early, late))
        ratio = statistics.median(b / a for a, b in zip(one_way, other, strict=True))
        lines.append(
            f"{name:24}{statistics.median(one_way):14.2f}{statistics.median(other):14.2f}"
            f"{ratio:8.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    # The project in place of this folder, which is imported as a package.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main()
