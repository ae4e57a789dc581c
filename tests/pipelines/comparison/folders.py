"""Folders of evaluations as `evaluate` and the evaluate phase leave them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def row(number: int, outcome: str, sample: int = 0, **more: Any) -> dict[str, Any]:
    """Return an answer to question `number`, whose gold is its number."""
    return {
        "problem_id": f"gsm8k/test/{number}",
        "sample": sample,
        "outcome": outcome,
        "extracted": str(number) if outcome == "correct" else None,
        "answer": str(number),
        "question": f"What is {number} plus nothing?",
        "response": f"It is {number if outcome == 'correct' else 'unclear'}.",
        "finish": "stop",
        "tokens": 5,
        "tags": {},
        **more,
    }


def write(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    task: str = "gsm8k/test",
    **figures: Any,
) -> Path:
    """Write a task's answers and figures into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = task.replace("/", ".")
    lines = "".join(json.dumps(each) + "\n" for each in rows)
    (folder / f"{stem}.answers.jsonl").write_text(lines, encoding="utf-8")
    record = {"task": task, "fingerprint": "f" * 64, "prompt": "plain", "max_tokens": 64, **figures}
    (folder / f"{stem}.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def outcomes(*kinds: str) -> list[dict[str, Any]]:
    """Return greedy answers to the questions 0, 1, ... with these outcomes."""
    return [row(number, kind) for number, kind in enumerate(kinds)]
