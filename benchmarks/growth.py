"""How cost grows: with tokens, group size, model size and iterations.

    python benchmarks/growth.py --repeats 5 --threads 2

An update (the reference's log-probabilities, forward and backward of one micro-batch of whole
groups) and a generation of the native engine are timed on random Llama-shaped models and random
tokens of fixed lengths: the first point of a line is 4 prompts of 48 tokens x 8 completions of 48
tokens, a model of 3 M parameters. Tokens double in prompts and completions alike, groups at the
same prompts, models by their shape. Points are taken in turns, medians over repeats.

Iterations: the main job with small phases, from a policy that is warm-started here (or `--start
RUN/start` of a finished run); seconds of each iteration as its artifacts state them. Later
iterations replay from a longer history.

Prints Markdown tables and draws docs/images/growth.png.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

# Llama shapes: width, feed-forward, layers, heads, vocabulary.
SHAPES = {
    "0.4M": (96, 288, 3, 4, 64),
    "3M": (256, 640, 4, 8, 2048),
    "8M": (384, 1024, 4, 8, 2048),
    "22M": (512, 1408, 7, 8, 4096),
}
PROMPTS = 4


@dataclass(frozen=True, slots=True)
class Point:
    """One measured setting: `scale` is what grows, relative to the line's first point."""

    line: str
    scale: float
    shape: str = "3M"
    tokens: int = 48
    group: int = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """Median seconds of a point."""

    point: Point
    update: float
    rollout: float


def main() -> None:
    """Measure, print and draw."""
    options = parse()
    import torch

    torch.set_num_threads(options.threads)
    first = Point("", 1.0)
    points = [replace(first, line="tokens", scale=k, tokens=int(48 * k)) for k in (1.0, 2.0, 4.0)]
    points += [replace(first, line="group", scale=k, group=int(8 * k)) for k in (1.0, 2.0, 4.0)]
    sizes = {name: parameters(name) for name in options.shapes}
    least = min(sizes.values())
    points += [Point("model size", size / least, shape=name) for name, size in sizes.items()]
    measured = measure(points, options)
    print(table(measured))
    seconds = iterations(options) if options.iterations else []
    if seconds:
        early, late = median(seconds[1:4]), median(seconds[-3:])
        print(
            f"\n{len(seconds)} iterations: {early:.2f} s (median of the second to fourth), "
            f"{late:.2f} s (median of the last three), {late / early:.2f}x"
        )
    draw(measured, seconds, options.picture)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--iterations", type=int, default=20, help="0: leave them out")
    parser.add_argument("--start", type=Path, help="finished start/ of an arithmetic run")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/growth.png"))
    return parser.parse_args()


def parameters(shape: str) -> int:
    """Return how many parameters a shape has."""
    return sum(parameter.numel() for parameter in build(shape, "cpu").parameters())


def build(shape: str, device: str) -> Any:
    """Return a random model of this shape."""
    from benchmarks.random_llama import random_llama

    return random_llama(SHAPES[shape], device, positions=2048)


def measure(points: list[Point], options: argparse.Namespace) -> list[Measured]:
    """Time all points in turns, after a turn that does not count."""
    works = [(update(point, options.device), rollout(point, options.device)) for point in points]
    seconds: list[list[tuple[float, float]]] = [[] for _ in points]
    for repeat in range(-1, options.repeats):
        for found, (updating, sampling) in zip(seconds, works, strict=True):
            pair = timed(updating), timed(sampling)
            if repeat >= 0:
                found.append(pair)
        print(f"turn {repeat + 1} of {options.repeats}", file=sys.stderr, flush=True)
    return [
        Measured(point, median(u for u, _ in found), median(r for _, r in found))
        for point, found in zip(points, seconds, strict=True)
    ]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of a call, kernels of a GPU included."""
    import torch

    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def update(point: Point, device: str) -> Callable[[], object]:
    """Return an update on random rollouts: reference, forward, backward."""
    import torch

    from iterative_grpo.logps.paths import Logps

    model, reference = build(point.shape, device), build(point.shape, device)
    logps = Logps(1.0, contextlib.nullcontext)
    generator = torch.Generator().manual_seed(0)
    vocabulary, rows = SHAPES[point.shape][-1], PROMPTS * point.group
    prompts = torch.randint(3, vocabulary, (PROMPTS, point.tokens), generator=generator)
    ids = torch.cat(
        [
            prompts.repeat_interleave(point.group, 0),
            torch.randint(3, vocabulary, (rows, point.tokens), generator=generator),
        ],
        dim=1,
    ).to(device)

    def score(of: Any) -> Any:
        def stock(some: Any, _: Any, columns: int) -> Any:
            scores = of(some).logits[:, -columns - 1 : -1].log_softmax(-1)
            return scores.gather(-1, some[:, -columns:, None]).squeeze(-1)

        found = logps(
            of, ids, torch.ones_like(ids), point.tokens, wanted="shared", entropy=False, stock=stock
        )
        if found is None:
            raise RuntimeError("the shared path was not taken")
        return found[0]

    def work() -> None:
        with torch.no_grad():
            base = score(reference)
        own = score(model)
        ratio = base - own
        (ratio.exp() - ratio - own).mean().backward()
        model.zero_grad(set_to_none=True)

    return work


def rollout(point: Point, device: str) -> Callable[[], object]:
    """Return a generation of fixed length by the native engine."""
    import random

    from iterative_grpo.engines import native
    from iterative_grpo.types import Sampling

    model = build(point.shape, device)
    drawn = random.Random(0)
    vocabulary = SHAPES[point.shape][-1]
    prompts = [
        [drawn.randrange(3, vocabulary) for _ in range(point.tokens)] for _ in range(PROMPTS)
    ]
    sampling = Sampling(point.group, point.tokens, seed=1)
    return lambda: native.sample_ids(model, prompts, sampling, eos_token_ids=())


def iterations(options: argparse.Namespace) -> list[float]:
    """Return the seconds of each iteration of a small run of the main job."""
    from pipelines import launching, load_config
    from pipelines.iterate import iterate
    from pipelines.progress import Progress
    from pipelines.report.run import read
    from pipelines.runs import Run

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        if options.start is not None:
            shutil.copytree(options.start, folder / "start")
        config = load_config(
            "arithmetic",
            [
                f"run_dir={folder}",
                f"iterations={options.iterations}",
                *("sample.problems=48", "sample.first_problems=48", "optimize.steps=2"),
                *("reward_model.first.epochs=1", "evaluate.limit=64"),
            ],
        )
        with Run(config, Progress(every=60), launching.starter(config)) as run:
            iterate(run)
        rows = read(folder).iterations
        return [sum(row["seconds"].values()) for row in rows if row["iteration"]]


def table(measured: list[Measured]) -> str:
    """Return seconds and growth as Markdown."""
    lines = [
        "| grows | by | update, s | growth | rollout, s | growth |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for it in measured:
        first = next(other for other in measured if other.point.line == it.point.line)
        lines.append(
            f"| {it.point.line} | {it.point.scale:.3g}x | {it.update:.3f} "
            f"| {it.update / first.update:.2f}x | {it.rollout:.3f} "
            f"| {it.rollout / first.rollout:.2f}x |"
        )
    return "\n".join(lines)


def draw(measured: list[Measured], seconds: list[float], path: Path) -> None:
    """Draw growth against scale, with the line of proportional growth."""
    from matplotlib.figure import Figure

    lines = list(dict.fromkeys(it.point.line for it in measured))
    figure = Figure(figsize=(3.1 * (len(lines) + bool(seconds)), 2.8), layout="constrained")
    panels = figure.subplots(1, len(lines) + bool(seconds))
    for axes, line in zip(panels, lines, strict=False):
        own = [it for it in measured if it.point.line == line]
        scales = [it.point.scale for it in own]
        axes.plot(scales, scales, color="0.75", linewidth=1, label="proportional")
        for name in ("update", "rollout"):
            values = [getattr(it, name) / getattr(own[0], name) for it in own]
            axes.plot(scales, values, marker="o", markersize=4, label=name)
        axes.set(xscale="log", yscale="log", title=line, xlabel="times", ylabel="times the seconds")
        axes.minorticks_off()
        axes.set_xticks(scales, [f"{scale:.3g}" for scale in scales])
        axes.set_yticks(scales, [f"{scale:.3g}" for scale in scales])
    panels[0].legend(fontsize=8, frameon=False)
    if seconds:
        axes = panels[-1]
        axes.plot(range(1, len(seconds) + 1), seconds, marker="o", markersize=3)
        axes.set(title="iterations", xlabel="iteration", ylabel="seconds", ylim=(0, None))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    print(f"\npicture: {path}")


if __name__ == "__main__":
    # The project in place of this folder, which is imported as a package.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main()
