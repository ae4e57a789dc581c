"""A reward model's training step and scoring, with its last layer where it is read and whole.

    python benchmarks/reward_model_step.py --layers 3 8 --threads 2

The embedded job's rows, shape and batch size; both ways take turns, each turn all batches once.
Prints medians over turns, and by how much logits and gradients differ.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_models.model import RewardModel

WAYS = {"whole": 0.0, "where it is read": None}
"""Ways to compute the last layer, as `last_layer.READ`; None leaves that as it is."""


def main() -> None:
    """Measure what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--layers", type=int, nargs="+", default=[3])
    parser.add_argument("--width", type=int, help="the embedded job's by default")
    parser.add_argument("--solutions", type=int, default=1_000, help="rows, in batches of 32")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    rows = solutions(options.solutions)
    print("| layers | work | last layer | turns | seconds | speed-up | largest difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for layers in options.layers:
        for name, work in works(layers, options.width, rows).items():
            results = {way: run(work, way)[1] for way in WAYS}
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(options.repeats):
                for way, found in seconds.items():
                    found.append(run(work, way)[0])
            expected = results["whole"]
            base = median(seconds["whole"])
            for way, found in seconds.items():
                off = float((results[way] - expected).abs().max() / expected.abs().max())
                print(
                    f"| {layers} | {name} | {way} | {len(found)} | {median(found):.3f} "
                    f"| {base / median(found):.2f}x | {off:.0e} |",
                    flush=True,
                )


def solutions(count: int) -> list[Any]:
    """Return labeled solutions of the embedded job, eight of a question."""
    from reward_model_cost import solutions

    from pipelines import load_config, questions

    config = load_config("arithmetic", ["run_dir=unused"])
    drawn = questions.draw(questions.training(config).problems, count // 8, 0)
    return [row for problem in drawn for row in solutions(problem, 1, config)]


def works(layers: int, width: int | None, rows: list[Any]) -> dict[str, Callable[[], Any]]:
    """Return functions that train on all batches, without a step, and that score all rows."""
    import numpy as np
    import torch

    from iterative_grpo import plugins
    from reward_models.examples import Examples

    model = made(layers, width, rows)
    data = Examples(model, rows, plugins.find("reward_models.losses", "bce"))
    batches = data.batches(32, np.random.default_rng(0))
    columns = [r.question for r in rows], [r.text for r in rows], [r.ends for r in rows]

    def train() -> Any:
        model.model.train()
        model.model.zero_grad(set_to_none=True)
        for batch in batches:
            logits_N1 = model.read(model.model, [data.encoded[row] for row in batch])
            labels_N = torch.tensor([x for row in batch for x in data.labels[row]])
            torch.nn.functional.binary_cross_entropy_with_logits(
                logits_N1[:, 0], labels_N
            ).backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.model.parameters()])

    def score() -> Any:
        return torch.tensor([value for row in model.logits(*columns) for value in row])

    return {f"forward and backward, {len(batches)} batches": train, f"{len(rows)} scores": score}


def made(layers: int, width: int | None, rows: list[Any]) -> RewardModel:
    """Return an untrained reward model of the embedded job's shape, or one near it."""
    from pipelines import making
    from reward_models.model import RewardModel

    texts = [f"{row.question}\n{row.text}" for row in rows] + ["0123456789+-*=# \n" * 2]
    tokenizer = making.make_tokenizer("words", texts, 2048)
    shape = dataclasses.replace(making.ModelShape(), layers=layers)
    if width is not None:
        shape = dataclasses.replace(shape, width=width)
    return RewardModel.from_shape(making.make_policy(tokenizer, shape, 0).config, tokenizer)


def run(work: Callable[[], Any], way: str) -> tuple[float, Any]:
    """Return the seconds and the result of a piece of work."""
    from reward_models import last_layer

    usual = last_layer.READ
    chosen = WAYS[way]
    last_layer.READ = usual if chosen is None else chosen
    started = time.perf_counter()
    try:
        result = work()
    finally:
        last_layer.READ = usual
    return time.perf_counter() - started, result


if __name__ == "__main__":
    # Behind the project, from which `benchmarks` is imported as a package.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
