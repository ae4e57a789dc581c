"""A task of the tests' own making that a tiny policy gets half right after a few steps."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from pipelines import settings
from pipelines.config import Config


def write_data(folder: Path, rows: int = 96, seed: int = 0) -> Path:
    """Write FOLDER/gsm8k/{train,test}.jsonl in the hub's format: answers are 2 or 3, at random."""
    draw = random.Random(seed)
    place = folder / "gsm8k"
    place.mkdir(parents=True)
    for split, count in (("train", rows), ("test", 12)):
        with (place / f"{split}.jsonl").open("w", encoding="utf-8") as out:
            for number in range(count):
                extra = draw.choice((1, 2))
                row = {
                    "question": f"Round {number} of {split}: 1 and how many more?",
                    "answer": f"1+{extra}={1 + extra}\n#### {1 + extra}",
                }
                out.write(json.dumps(row) + "\n")
    return folder


def raw(tmp_path: Path, data: Path, **more: Any) -> dict[str, Any]:
    """Return settings of a two-iteration run that takes seconds."""
    base: dict[str, Any] = {
        "run_dir": str(tmp_path / "run"),
        "data": {"name": "gsm8k", "path": str(data)},
        "policy": {
            "make": {"tokenizer": "bpe", "vocabulary": 280, "width": 32, "layers": 2, "heads": 2},
            "warm_start": {"steps": 120, "batch": 16, "muon_learning_rate": 0.02},
        },
        "max_tokens": 20,
        "iterations": 2,
        "sample": {"problems": 24, "group_size": 4},
        "label": {"labeler": "exact"},
        "reward_model": {
            "optimizer": "muon",
            "first": {"epochs": 1},
            "again": {"epochs": 1},
            "held_out": 0.2,
            "validation": 0.1,
        },
        "optimize": {"steps": 4, "prompts": 4, "group_size": 4, "learning_rate": 1e-3},
        "evaluate": {"tasks": ["gsm8k/test"]},
    }
    return {**base, **more}


def config(tmp_path: Path, data: Path, *overrides: str, **more: Any) -> Config:
    """Return the checked configuration."""
    return settings.load(raw(tmp_path, data, **more), overrides)


def lines(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON Lines."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
