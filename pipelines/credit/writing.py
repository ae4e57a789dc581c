"""Writes a comparison's files, each whole or not at all; nothing else in the run is touched."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts import write_bytes
from pipelines.credit import picture
from pipelines.credit.bias import biases
from pipelines.credit.comparison import Comparison, Solution
from pipelines.report.writing import replace

OURS = re.compile(r"solution_\d{3,}\.png")


def write(comparison: Comparison, folder: Path, limit: int) -> tuple[Path, ...]:
    """Write solutions.jsonl, bias.json and the pictures of the first `limit` solutions.

    Pictures of an earlier comparison that are not drawn again are removed: beside the new files
    they would show other figures. Files of other names are left alone.
    """
    pictures = {
        folder / f"solution_{place:03d}.png": solution
        for place, solution in enumerate(comparison.solutions[:limit], start=1)
    }
    everything, figures = folder / "solutions.jsonl", folder / "bias.json"
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(everything, _lines(_row(comparison, s) for s in comparison.solutions))
    replace(figures, json.dumps(_summary(comparison), indent=2, allow_nan=False).encode() + b"\n")
    for path, solution in pictures.items():
        replace(path, picture.png(solution, comparison.rules))
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and path not in pictures:
            path.unlink()
    return everything, figures, *pictures


def _row(comparison: Comparison, solution: Solution) -> Mapping[str, Any]:
    """Return a solution as JSON; `stored` are the advantages that the policy was trained with."""
    rollout = solution.rollout
    return {
        "iteration": comparison.iteration,
        "step": solution.step,
        "problem_id": rollout.problem_id,
        "sample": rollout.sample,
        "correct": rollout.correct,
        "finish": rollout.finish.value,
        "tokens": rollout.tokens,
        "text": rollout.text,
        "ends": rollout.rewards.ends,
        "rewards": rollout.rewards.values,
        "stored": rollout.advantages,
        "advantages": dict(solution.advantages),
    }


def _summary(comparison: Comparison) -> Mapping[str, Any]:
    return {
        "iteration": comparison.iteration,
        "trained_with": comparison.trained_with,
        "solutions": len(comparison.solutions),
        "notes": comparison.notes,
        "bias": [dataclasses.asdict(bias) for bias in biases(comparison)],
    }


def _lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    # Escaped to ASCII: a policy may write half a surrogate pair, which UTF-8 cannot hold.
    return (json.dumps(row, allow_nan=False).encode("ascii") + b"\n" for row in rows)
