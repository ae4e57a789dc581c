"""Optimizer steps of several processes: metrics as TRL gathers them, and deferred.

    python benchmarks/collectives.py --data ../shared/data --processes 2 --pairs 20

One training whose steps change their way in turns (TRL's, deferred, deferred, TRL's, ...): both
steps of a pair follow each other and work on the same outputs. On CPUs with gloo, one thread a
process. GSM8K's questions, its worked solutions (of other questions) as outputs that cost nothing
to sample, a random policy under a tokenizer trained on them; each step has a generation, each
micro-batch is one group. Collectives are counted where Python asks for them: those of gradients are
the same both ways and not among them.
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
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from update_rollouts import SHAPES, arguments, make, read

WARM_UP = 1
"""Pairs of steps that are left out."""


def main() -> None:
    """Start the processes; in each of them measure, and print the table in the first."""
    options = parse()
    if options.policy is not None:
        from pipelines import world

        measure(options)
        world.leave()
        return
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        options.prompts, options.device = 1, "cpu"
        make(options, 2, policy)
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
    parser.add_argument("--longest", type=int, default=512, help="tokens that answers are cut to")
    parser.add_argument("--pairs", type=int, default=20, help="of optimizer steps")
    parser.add_argument("--policy", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> None:
    """Train, and print medians."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    import torch
    from transformers import AutoTokenizer, PrinterCallback
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    trainer = prepare(options, AutoTokenizer.from_pretrained(options.policy))
    trainer.remove_callback(PrinterCallback)
    steps = in_turns(trainer)
    if torch.distributed.get_rank() == 0:
        print(table(options, steps[2 * WARM_UP :]))


def prepare(options: argparse.Namespace, tokenizer: Any) -> Any:
    """Return a trainer whose steps work on the same questions two by two."""
    from transformers import AutoModelForCausalLM

    from iterative_grpo.advantages.sum import Rule
    from iterative_grpo.normalize import Normalizer
    from iterative_grpo.trainer import Credit, IterativeGRPOTrainer, Task
    from iterative_grpo.types import Problem, Prompt

    rows = read(options.data)
    answers = [
        [*tokenizer(answer)["input_ids"][: options.longest - 1], tokenizer.eos_token_id]
        for _, answer in rows[:512]
    ]
    pairs, questions = options.pairs + WARM_UP, options.processes * options.accumulate
    problems = [
        Problem(f"gsm8k/{i}", rows[i][0], "", "gsm8k")
        for pair in range(pairs)
        for _ in range(2)
        for i in range(pair * questions, (pair + 1) * questions)
    ]
    return IterativeGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(options.policy),
        args=arguments(
            options.policy,
            per_device_train_batch_size=options.group,
            gradient_accumulation_steps=options.accumulate,
            num_generations=options.group,
            max_steps=2 * pairs,
            ddp_find_unused_parameters=False,
        ),
        task=Task(
            problems,
            [Prompt(p.id, tuple(tokenizer(p.question)["input_ids"])) for p in problems],
            [p.question for p in problems],
        ),
        source=Random(),
        credit=Credit(Rule(), Normalizer()),
        tokenizer=tokenizer,
        engine=lambda *_: Given(answers, tokenizer),
    )


class Given:
    """Answers with worked solutions, the same ones in two calls that follow each other."""

    def __init__(self, answers: list[list[int]], tokenizer: Any) -> None:
        self.answers = [
            (tuple(ids), tokenizer.decode(ids, skip_special_tokens=True)) for ids in answers
        ]
        self.calls = 0

    def generate(self, prompts: Sequence[Any], samplings: Sequence[Any]) -> list[list[Any]]:
        """Return a group for each prompt."""
        import torch

        from iterative_grpo.types import Completion, Finish

        drawn = random.Random(f"{torch.distributed.get_rank()}/{self.calls // 2}")
        self.calls += 1
        return [
            [
                Completion(prompt.problem_id, sample, text, ids, Finish.STOP)
                for sample, (ids, text) in enumerate(
                    drawn.sample(self.answers, sampling.group_size)
                )
            ]
            for prompt, sampling in zip(prompts, samplings, strict=True)
        ]


class Random:
    """A reward for each text as a whole, drawn with the text as the seed."""

    def score(self, problems: Sequence[Any], completions: Sequence[Any]) -> list[Any]:
        """Return one number for each."""
        from iterative_grpo.types import StepRewards

        return [StepRewards((len(c.text),), (random.Random(c.text).random(),)) for c in completions]


@dataclass(slots=True)
class Step:
    """An optimizer step: how metrics went, its seconds, and collectives that Python asked for."""

    deferred: bool
    seconds: float = 0.0
    collectives: int = 0


def in_turns(trainer: Any) -> list[Step]:
    """Train, and return the steps."""
    import torch
    from transformers import TrainerCallback

    steps: list[Step] = []
    began = [time.perf_counter()]

    def end() -> None:
        if steps:
            steps[-1].seconds = time.perf_counter() - began[-1]

    class Turns(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            end()
            trainer.defer_metrics = len(steps) % 4 in (1, 2)
            steps.append(Step(trainer.defer_metrics))
            began.append(time.perf_counter())

        def on_train_end(self, *_: Any, **__: Any) -> None:
            end()

    def counted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if steps:
                steps[-1].collectives += 1
            return function(*args, **kwargs)

        return call

    for name in ("all_reduce", "all_gather", "all_gather_object"):
        setattr(torch.distributed, name, counted(getattr(torch.distributed, name)))
    trainer.add_callback(Turns())
    trainer.train()
    return steps


def table(options: argparse.Namespace, steps: Sequence[Step]) -> str:
    """Return the Markdown table."""
    lines = [
        "| shape | tokens of an output | micro-batches | metrics | seconds a step "
        "| collectives a step | speed-up |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ways = [[step for step in steps if step.deferred is deferred] for deferred in (False, True)]
    ratios = [stock.seconds / ours.seconds for stock, ours in zip(*ways, strict=True)]
    low, middle, high = quantiles(ratios, n=4)
    gains = ("1.00x", f"{middle:.2f}x (quartiles {low:.2f} to {high:.2f})")
    for name, found, gain in zip(("TRL's", "deferred"), ways, gains, strict=True):
        lines.append(
            f"| {options.shape} | up to {options.longest} | {options.accumulate} | {name} "
            f"| {median(step.seconds for step in found):.3f} "
            f"| {median(step.collectives for step in found):.0f} | {gain} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
