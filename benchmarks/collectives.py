"""Optimizer steps of several processes: metrics of the loss as TRL gathers them, and deferred.

    python benchmarks/collectives.py --data ../shared/data --processes 2 --repeats 5

Both ways train the same policy on the same outputs in turns, in the same processes (gloo on CPUs,
one thread each): GSM8K's questions, its worked solutions (of other questions) as outputs that cost
nothing to sample, and a random policy under a tokenizer trained on them. One micro-batch is one
group. A turn is a training of some steps, each with a generation; its time is the median step's,
the first one left out. Collectives are counted where they are asked for in Python: those of
gradients are the same both ways and are not among them.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from update_rollouts import SHAPES, make, read

WAYS = {"TRL's": False, "deferred": True}


def main() -> None:
    """Start the processes; in each of them measure, and print the table in the first."""
    options = parse()
    if options.policy is not None:
        measure(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        options.prompts, options.device = 1, "cpu"
        make(options, 1, policy)
        command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
        command += ["--num_processes", str(options.processes), "--main_process_port", "0"]
        command += ["--multi_gpu", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command += [__file__, *sys.argv[1:], "--policy", str(policy)]
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        subprocess.run(command, env=environment, check=True)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with gsm8k/train.jsonl")
    parser.add_argument("--shape", choices=SHAPES, default="1m")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--group", type=int, default=8, help="G, and the rows of a micro-batch")
    parser.add_argument("--accumulate", type=int, default=8, help="micro-batches of a process")
    parser.add_argument("--steps", type=int, default=6, help="optimizer steps of a turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--policy", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> None:
    """Train in turns and print medians."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    import torch
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(options.policy)
    rows = read(options.data)
    answers = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for _, text in rows[:512]]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    asked: dict[str, float] = {}
    for repeat in range(-1, options.repeats):
        for way, defer in WAYS.items():
            trainer = prepare(options, tokenizer, rows, answers)
            trainer.defer_metrics = defer
            with Counting() as counting:
                found = turn(trainer)
            asked[way] = counting.number / options.steps
            if repeat >= 0:
                seconds[way].append(found)
    if torch.distributed.get_rank() == 0:
        print(table(options, seconds, asked))
    # A process that leaves while its group's threads run may be aborted.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def prepare(
    options: argparse.Namespace,
    tokenizer: Any,
    rows: Sequence[tuple[str, str]],
    answers: list[list[int]],
) -> Any:
    """Return a trainer of the policy as it was saved."""
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig

    from iterative_grpo.advantages.sum import Rule
    from iterative_grpo.normalize import Normalizer
    from iterative_grpo.trainer import Credit, IterativeGRPOTrainer, Task
    from iterative_grpo.types import Problem, Prompt

    count = options.processes * options.accumulate * options.steps
    problems = [
        Problem(f"gsm8k/{i}", question, "", "gsm8k") for i, (question, _) in enumerate(rows[:count])
    ]
    return IterativeGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(options.policy),
        args=GRPOConfig(
            output_dir=str(options.policy.parent / "out"),
            per_device_train_batch_size=options.group,
            gradient_accumulation_steps=options.accumulate,
            num_generations=options.group,
            max_completion_length=512,
            max_steps=options.steps,
            beta=0.04,
            loss_type="grpo",
            use_bias_correction_kl=False,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            log_level="error",
        ),
        task=Task(
            problems,
            [Prompt(p.id, tuple(tokenizer(p.question)["input_ids"])) for p in problems],
            [p.question for p in problems],
        ),
        source=Random(),
        credit=Credit(Rule(), Normalizer()),
        tokenizer=tokenizer,
        engine=lambda *_: Given(answers),
    )


class Given:
    """Answers with worked solutions, others for each seed."""

    def __init__(self, answers: list[list[int]]) -> None:
        self.answers = answers

    def generate(self, prompts: Sequence[Any], sampling: Any) -> list[list[Any]]:
        """Return `sampling.group_size` answers to each prompt."""
        from iterative_grpo.types import Completion, Finish

        drawn = random.Random(sampling.seed)
        return [
            [
                Completion(prompt.problem_id, sample, "", tuple(ids), Finish.STOP)
                for sample, ids in enumerate(drawn.sample(self.answers, sampling.group_size))
            ]
            for prompt in prompts
        ]


class Random:
    """A reward for each text as a whole, drawn with the text as the seed."""

    def score(self, problems: Sequence[Any], completions: Sequence[Any]) -> list[Any]:
        """Return one number for each."""
        from iterative_grpo.types import StepRewards

        return [StepRewards((len(c.text),), (random.Random(c.text).random(),)) for c in completions]


class Counting:
    """Counts the collectives that are asked for inside, in Python."""

    NAMES = ("all_reduce", "all_gather", "all_gather_into_tensor", "all_gather_object")

    def __enter__(self) -> Counting:
        import torch

        self.number = 0
        self.before = {name: getattr(torch.distributed, name) for name in self.NAMES}
        for name, function in self.before.items():
            setattr(torch.distributed, name, self.counted(function))
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        for name, function in self.before.items():
            setattr(torch.distributed, name, function)

    def counted(self, function: Any) -> Any:
        """Return the function, counted."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.number += 1
            return function(*args, **kwargs)

        return call


def turn(trainer: Any) -> float:
    """Train, and return the seconds of the median step."""
    from transformers import PrinterCallback, TrainerCallback

    starts: list[float] = []

    class Starts(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            starts.append(time.perf_counter())

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Starts())
    trainer.train()
    # The first step is left out, the last has no next one to end it.
    return median(after - before for before, after in pairwise(starts[1:]))


def table(
    options: argparse.Namespace, seconds: dict[str, list[float]], asked: dict[str, float]
) -> str:
    """Return the Markdown table."""
    lines = [
        "| shape | processes | micro-batches | metrics | seconds a step | collectives a step "
        "| speed-up |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    stock = seconds["TRL's"]
    for way, found in seconds.items():
        ratios = [a / b for a, b in zip(stock, found, strict=True)]
        lines.append(
            f"| {options.shape} | {options.processes} | {options.accumulate} | {way} "
            f"| {median(found):.3f} ({min(found):.3f} to {max(found):.3f}) | {asked[way]:.0f} "
            f"| {median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
