"""One whole iteration of the main job: this project against a script stitched from libraries.

    python benchmarks/whole_iteration.py --repeats 5 --threads 2

Both arms start from the same warm-started policy of the arithmetic job (made once, or taken from a
finished run with `--start RUN/start`) and do the same work: sample questions, judge the answers,
train a reward model, 20 GRPO steps against it, evaluate. Equal are questions, samples, epochs,
batches, steps and the settings of GRPO. The arms take turns, each in a process of its own, after
one turn that does not count: neither pays for imports or for what the other leaves in memory, and
a busy machine is busy for both.

`ours` is what `iterative-grpo run` does from a finished iteration 0 on, its checks, records and
fingerprints included. `stitched` is `stitched.py`: see there. Its reward model is trained by AdamW,
ours by the configured optimizer. Needs Math-Verify, which is in the `dev` extra.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

PHASES = ("sample", "label", "retrain", "optimize", "evaluate")


@dataclass(frozen=True, slots=True)
class Turn:
    """One iteration of one arm: seconds as a whole and by phase, and what came of it."""

    arm: str
    seconds: float
    phases: dict[str, float]
    auroc: float
    accuracy: float


def main() -> None:
    """Measure what was asked for and print the tables."""
    options = parse()
    settle(options.threads)
    turns: list[Turn] = []
    outside: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        start = prepared(options, folder / "start_run")
        processes = {arm: stack.enter_context(process(options.threads)) for arm in options.arms}
        for repeat in range(-options.warm_up, options.repeats):
            for arm in options.arms:
                place = folder / f"{arm}{repeat}"
                task = processes[arm].submit(ARMS[arm], options, start, place, repeat)
                turn, share = task.result()
                shutil.rmtree(place)
                print(json.dumps({"repeat": repeat, **asdict(turn)}), file=sys.stderr, flush=True)
                if repeat >= 0:
                    turns.append(turn)
                    outside += [] if share is None else [share]
    print(table(turns, outside))
    if options.json:
        report = {"machine": machine(options), "turns": [asdict(turn) for turn in turns]}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


def settle(threads: int) -> None:
    """Set threads, and let the libraries be silent."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def process(threads: int) -> ProcessPoolExecutor:
    """Return a process of one arm."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=settle, initargs=(threads,))


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="`cpu` counts processor seconds: with one thread, on a machine in use",
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--config", default="arithmetic")
    parser.add_argument("--start", type=Path, help="finished start/ of a run of this configuration")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="settings")
    return parser.parse_args()


def configured(options: argparse.Namespace, folder: Path, seed: int = 0) -> Any:
    """Return the configuration of one iteration; both arms take their numbers from it.

    Later iterations sample fewer questions and train for fewer epochs than the first: their numbers
    are taken, since there are more of them.
    """
    from pipelines import load_config

    config = load_config(options.config, [f"run_dir={folder}", "iterations=1", *options.overrides])
    again = config.reward_model.again.model_dump()
    more = [f"reward_model.first.{key}={value}" for key, value in again.items()]
    return load_config(
        options.config,
        [
            *(f"run_dir={folder}", "iterations=1", f"seed={seed}"),
            *(f"sample.first_problems={config.sample.problems}", *more, *options.overrides),
        ],
    )


def prepared(options: argparse.Namespace, folder: Path) -> Path:
    """Return a folder with the initial policy and its evaluation, finished."""
    from pipelines import launching
    from pipelines.phases.evaluate import PHASE as EVALUATE
    from pipelines.phases.start import PHASE as START
    from pipelines.progress import Progress
    from pipelines.runs import Run

    folder.mkdir()
    if options.start is not None:
        shutil.copytree(options.start, folder / "start")
    config = configured(options, folder)
    with Run(config, Progress(), launching.starter(config)) as run:
        run.do(EVALUATE, 0, policy=run.do(START, 0))
    return folder


def ours(
    options: argparse.Namespace, start: Path, place: Path, repeat: int
) -> tuple[Turn, float | None]:
    """Run the iteration as `iterative-grpo run` does, from a copy of the finished iteration 0."""
    from pipelines import launching
    from pipelines.iterate import iterate
    from pipelines.progress import Progress
    from pipelines.report.run import read
    from pipelines.runs import Run

    shutil.copytree(start, place)
    config = configured(options, place)
    clock = CLOCKS[options.clock]
    started, began = clock(), time.perf_counter()
    with Run(config, Progress(quiet=True), launching.starter(config)) as run:
        iterate(run)
    seconds, whole = clock() - started, time.perf_counter() - began
    row = read(place).iterations[-1]
    (figures,) = row["evaluations"].values()
    turn = Turn("ours", seconds, row["seconds"], row["reward_model"]["auroc"], figures["accuracy"])
    # By the wall, as the run's own clocks: what lies between phases is outside, too.
    work = row["time"]["seconds"] - row["time"]["outside"]["seconds"]
    return turn, 1 - work / whole


def stitched(
    options: argparse.Namespace, start: Path, place: Path, repeat: int
) -> tuple[Turn, float | None]:
    """Run the stitched script on the same questions."""
    from benchmarks import stitched as script
    from pipelines import prompts, questions
    from pipelines.phases.evaluate import tasks
    from pipelines.phases.sample import prompt_name

    config = configured(options, place)
    form = prompts.find(prompt_name(config))
    tokenizer = script.AutoTokenizer.from_pretrained(start / "start" / "policy")
    optimize, fit = config.optimize, config.reward_model.first

    def asked(problems: Any) -> list[tuple[str, str]]:
        return [(form.render(problem, tokenizer), problem.answer) for problem in problems]

    train = questions.training(config).problems
    work = script.Work(
        sampled=asked(questions.draw(train, config.sample.problems, repeat)),
        trained=asked(questions.draw(train, optimize.steps * optimize.prompts, repeat + 1)),
        evaluated=asked(tasks(config)[0].problems),
        group_size=optimize.group_size,
        max_tokens=config.max_tokens,
        # Ours keeps further questions for tuning: both train on equally many rows.
        held_out=config.reward_model.held_out + config.reward_model.validation,
        epochs=fit.epochs,
        batch=fit.batch,
        reward_learning_rate=fit.learning_rate,
        steps=optimize.steps,
        prompts=optimize.prompts,
        micro_batch=config.micro_batch,
        learning_rate=optimize.learning_rate,
        beta=optimize.beta,
        scale=optimize.scale,
        seed=repeat + 1,
    )
    place.mkdir()
    clock = CLOCKS[options.clock]
    started = clock()
    result = script.iteration(start / "start" / "policy", work, place)
    seconds = clock() - started
    return Turn("stitched", seconds, result.seconds, result.auroc, result.accuracy), None


ARMS = {"stitched": stitched, "ours": ours}


def table(turns: list[Turn], outside: list[float]) -> str:
    """Return medians as Markdown: seconds by phase and as a whole, and what came of it."""
    by_arm = {arm: [turn for turn in turns if turn.arm == arm] for arm in ARMS}
    found = {arm: own for arm, own in by_arm.items() if own}
    whole = {arm: median(turn.seconds for turn in own) for arm, own in found.items()}
    base = whole.get("stitched", float("nan"))
    lines = [
        f"| arm | turns | {' | '.join(PHASES)} | whole iteration | speed-up | AUROC | accuracy |",
        "|" + " --- |" * (len(PHASES) + 6),
    ]
    for arm, own in found.items():
        cells = [f"{median(turn.phases[phase] for turn in own):.2f}" for phase in PHASES]
        low, high = min(turn.seconds for turn in own), max(turn.seconds for turn in own)
        lines.append(
            f"| {arm} | {len(own)} | {' | '.join(cells)} "
            f"| {whole[arm]:.1f} ({low:.1f} to {high:.1f}) | {base / whole[arm]:.2f}x "
            f"| {median(turn.auroc for turn in own):.3f} "
            f"| {median(turn.accuracy for turn in own):.3f} |"
        )
    lines += ["", "Seconds, medians over turns; AUROC of the reward model on held-out questions."]
    if outside:
        share = f"{median(outside):.1%} of the whole"
        lines.append(f"Outside of generation, scoring and training, ours: {share}.")
    return "\n".join(lines)


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a reader needs to compare figures."""
    import torch
    import transformers
    import trl

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    # The project in place of this folder, which is imported as a package.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main()
