"""What a policy step takes besides its model: stock TRL and ours, on the same stored outputs.

    python benchmarks/step_overhead.py --data ../shared/data

Sampling returns stored outputs and log-probabilities are zeros, so that what is left is what the
trainers do around the model: rows, decoding, padding, credit, metrics, the loss. Outputs are
GSM8K's worked solutions, strung together to the length asked for. Stock TRL has one number for an
output; ours one for each line of it, spread over tokens, with health figures. Arms take turns.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from update_rollouts import arguments, make, read

GROUP = 8
STEPS = 3
"""Of a turn; the first is not counted."""


def main() -> None:
    """Measure each case and print the table."""
    options = parse()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    import torch
    from transformers import AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(options.threads)
    print("| outputs | tokens, mean | micro-batches | stock, s | ours, s | stock / ours |")
    print("| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        options.shape, options.device = "1m", "cpu"
        make(options, GROUP, policy)
        tokenizer = AutoTokenizer.from_pretrained(policy)
        for prompts, tokens, parts in options.cases:
            outputs = strung(options, tokenizer, prompts * GROUP, tokens)
            arms = {
                name: build(options, policy, tokenizer, outputs, parts)
                for name, build in (("stock", stock), ("ours", ours))
            }
            seconds: dict[str, list[float]] = {name: [] for name in arms}
            for _ in range(options.repeats):
                for name, arm in arms.items():
                    seconds[name].append(turn(arm))
            found = {name: median(each) for name, each in seconds.items()}
            print(
                f"| {prompts * GROUP:,} | {sum(map(len, outputs)) / len(outputs):.0f} | {parts} | "
                f"{found['stock']:.2f} | {found['ours']:.2f} | "
                f"{found['stock'] / found['ours']:.1f} |",
                flush=True,
            )


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with gsm8k/train.jsonl")
    parser.add_argument(
        "--cases",
        nargs="+",
        type=lambda case: tuple(map(int, case.split("x"))),
        default=[(16, 48, 1), (128, 128, 1), (128, 128, 128), (128, 1024, 1), (128, 1024, 128)],
        metavar="PROMPTSxTOKENSxMICRO_BATCHES",
    )
    parser.add_argument("--prompts", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def strung(options: argparse.Namespace, tokenizer: Any, count: int, tokens: int) -> list[list[int]]:
    """Return outputs of between a third of `tokens` and all of them, with their EOS."""
    drawn = random.Random(0)
    answers = [tokenizer(answer + "\n")["input_ids"] for _, answer in read(options.data)[:2000]]
    outputs = []
    for _ in range(count):
        length, ids = drawn.randint(tokens // 3, tokens - 1), []
        while len(ids) < length:
            ids += drawn.choice(answers)
        outputs.append([*ids[:length], tokenizer.eos_token_id])
    return outputs


# -- arms -----------------------------------------------------------------------------------------


def told(policy: Path, outputs: Sequence[Sequence[int]], parts: int) -> Any:
    """Return what both trainers are told."""
    return arguments(
        policy,
        per_device_train_batch_size=len(outputs) // parts,
        gradient_accumulation_steps=parts,
        num_generations=GROUP,
        max_completion_length=max(map(len, outputs)),
        max_steps=STEPS,
    )


def without_model(trainer: type) -> type:
    """Return a trainer whose model computes nothing."""

    def zeros(
        self: Any, model: Any, ids: Any, mask: Any, columns: int, *_: Any, **asked: Any
    ) -> tuple[Any, Any, None]:
        # On a path to a weight, so that there is a gradient.
        found = 0 * next(self.model.parameters()).flatten()[0] + ids.new_zeros(len(ids), columns)
        return found, found if asked.get("compute_entropy") else None, None

    return type("WithoutModel", (trainer,), {"_get_per_token_logps_and_entropies": zeros})


def questions(options: argparse.Namespace, outputs: Sequence[Any]) -> list[str]:
    """Return the questions of a turn's steps."""
    return [question for question, _ in read(options.data)[: STEPS * len(outputs) // GROUP]]


def stock(
    options: argparse.Namespace, policy: Path, tokenizer: Any, outputs: Any, parts: int
) -> Any:
    """Return TRL's trainer, with one random reward for each output."""
    from datasets import Dataset
    from trl import GRPOTrainer

    def reward(completions: Sequence[str], **_: Any) -> list[float]:
        return [random.random() for _ in completions]

    made = without_model(GRPOTrainer)(
        model=str(policy),
        reward_funcs=[reward],
        args=told(policy, outputs, parts),
        train_dataset=Dataset.from_list([{"prompt": q} for q in questions(options, outputs)]),
        processing_class=tokenizer,
    )
    made._generate_single_turn = lambda *_, **__: ([list(ids) for ids in outputs], None)
    return made


def ours(
    options: argparse.Namespace, policy: Path, tokenizer: Any, outputs: Any, parts: int
) -> Any:
    """Return our trainer, with a random reward for each line and a random verdict."""
    from transformers import AutoModelForCausalLM

    from iterative_grpo.advantages.sum import Rule
    from iterative_grpo.normalize import Normalizer
    from iterative_grpo.trainer import Credit, IterativeGRPOTrainer, Task
    from iterative_grpo.types import Problem, Prompt

    problems = [
        Problem(f"gsm8k/{i}", question, "", "gsm8k")
        for i, question in enumerate(questions(options, outputs))
    ]
    prompts = [Prompt(p.id, tuple(tokenizer(p.question)["input_ids"])) for p in problems]
    return without_model(IterativeGRPOTrainer)(
        AutoModelForCausalLM.from_pretrained(policy),
        args=told(policy, outputs, parts),
        task=Task(problems, prompts, [p.question for p in problems]),
        source=Lines(),
        credit=Credit(Rule(), Normalizer()),
        tokenizer=tokenizer,
        truth=lambda _, completions: [random.random() < 0.5 for _ in completions],
        engine=lambda *_: Stored(outputs, tokenizer),
    )


class Stored:
    """Answers with the stored outputs, in their order, and decodes them as an engine does."""

    def __init__(self, outputs: Sequence[Sequence[int]], tokenizer: Any) -> None:
        self.outputs = [tuple(ids) for ids in outputs]
        self.tokenizer = tokenizer

    def generate(self, prompts: Sequence[Any], samplings: Sequence[Any]) -> list[list[Any]]:
        """Return a group for each prompt."""
        from iterative_grpo.types import Completion, Finish

        rest = iter(self.outputs)
        return [
            [
                Completion(prompt.problem_id, sample, self.text(ids), ids, Finish.STOP)
                for sample, ids in enumerate(islice(rest, sampling.group_size))
            ]
            for prompt, sampling in zip(prompts, samplings, strict=True)
        ]

    def text(self, ids: Sequence[int]) -> str:
        """Return an output's text."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)


class Lines:
    """A random reward for each line."""

    def score(self, problems: Sequence[Any], completions: Sequence[Any]) -> list[Any]:
        """Return the rewards of each output's lines."""
        from iterative_grpo.splitters.lines import Splitter
        from iterative_grpo.types import StepRewards

        cuts = [Splitter().split(completion.text) for completion in completions]
        return [StepRewards(ends, tuple(random.random() for _ in ends)) for ends in cuts]


def turn(trainer: Any) -> float:
    """Train for a few steps, and return the mean seconds of all but the first."""
    from transformers import PrinterCallback, TrainerCallback

    stamps: list[float] = []

    class Stamps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            stamps.append(time.perf_counter())

    stamping = Stamps()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(stamping)
    trainer.train()
    trainer.remove_callback(stamping)
    return (stamps[-1] - stamps[0]) / (len(stamps) - 1)


if __name__ == "__main__":
    main()
