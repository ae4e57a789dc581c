"""AIME 2024: thirty competition problems whose answers are whole numbers from 0 to 999.

A row has `problem`, `solution` and `answer`, and more that is not read. The hub's only split,
called train there, is the test split here: nothing may be trained on it.
"""

from __future__ import annotations

from pathlib import Path

from iterative_grpo.types import Problem
from pipelines.datasets._jsonl import Row
from pipelines.datasets._split import Rows
from pipelines.datasets._tables import Official, Table, read_table

VERIFIER = "math"
PROMPT = "deepseek_math_cot"

TABLE = Table(
    name="aime",
    hub="HuggingFaceH4/aime_2024",
    fields=("problem", "solution", "answer"),
    official={"test": Official(30)},
    hub_splits={"test": "train"},
)


def read(split: str, path: Path | None, limit: int | None, seed: int) -> Rows:
    """Read a split, all of it: `load` takes the limited subset."""
    return read_table(TABLE, split, path, problem)


def problem(row: Row, identity: str) -> Problem:
    """Make a problem of a row. Answers are stored in three digits, "073"; the gold is "73"."""
    answer = row["answer"].strip()
    return Problem(
        id=identity,
        question=row["problem"],
        answer=answer.lstrip("0") or "0",
        dataset=TABLE.name,
        tags={"solution": row["solution"]},
    )


def demonstration(problem: Problem) -> str:
    """Return the reference solution."""
    return problem.tags["solution"]
