"""A small run with rollouts of several steps, written as the policy phase writes them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import yaml

from iterative_grpo import plugins
from iterative_grpo.normalize import Normalizer
from iterative_grpo.rollouts import Rollout
from iterative_grpo.types import Finish, StepRewards

HOSTILE = "\u202e\x1b[31m[b]$\\frac{18}{5$\n2*4=8 & 漢字 </pre>\n#### 31"
"""Turns text around, drives terminals, and means something to rich, matplotlib and HTML."""


def group(problem: str, size: int, draw: random.Random, scale: str = "group") -> list[Rollout]:
    """Return a group of solutions of one to five lines, right ones with the higher scores."""
    made = []
    for sample in range(size):
        right = draw.random() < 0.5
        lines = [f"{k}+{k}={2 * k + (k == 1 and not right)}\n" for k in range(draw.randint(0, 4))]
        text = "".join([*lines, "#### 8"]) if (problem, sample) != ("task/1", 0) else HOSTILE
        ends = [i + 1 for i, c in enumerate(text) if c == "\n"] + [len(text)]
        values = [round(0.5 * right + 0.5 * draw.random(), 3) for _ in ends]
        made.append((sample, right, text, ends, values))
    rule = plugins.find("iterative_grpo.advantages", "sum").Rule()
    normalize = Normalizer(scale=scale)  # type: ignore[arg-type]
    (credited,) = rule.credit([[values for *_, values in made]], normalize)
    return [
        Rollout(
            problem_id=problem,
            sample=sample,
            text=text,
            tokens=len(text) + 1,
            finish=Finish.STOP,
            rewards=StepRewards(tuple(ends), tuple(values)),
            advantages=tuple(advantages),
            correct=right,
        )
        for (sample, right, text, ends, values), advantages in zip(made, credited, strict=True)
    ]


def write_rollouts(run: Path, iteration: int, rows: Sequence[tuple[int, Rollout]]) -> Path:
    file = run / "iterations" / f"{iteration:02d}" / "optimize" / "rollouts.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(r.as_row(iteration=iteration, step=step)) + "\n" for step, r in rows]
    file.write_text("".join(lines), encoding="utf-8")
    return file


def write_run(run: Path, *, iterations: int = 2, groups: int = 4, size: int = 4) -> Path:
    """Write a run of `iterations`, with two groups in each policy step."""
    run.mkdir(parents=True, exist_ok=True)
    settings = {"credit": "sum", "supervision": "process", "optimize": {"group_size": size}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for iteration in range(1, iterations + 1):
        draw = random.Random(iteration)
        rows = [
            (1 + number // 2, rollout)
            for number in range(groups)
            for rollout in group(f"task/{number}", size, draw)
        ]
        write_rollouts(run, iteration, rows)
    return run
