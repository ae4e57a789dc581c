"""MATH-500 (arXiv:2305.20050): the 500 MATH test problems that evaluations usually report.

A row has `problem`, `solution`, `answer`, `subject`, `level` and `unique_id`. There is no train.
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
    name="math500",
    hub="HuggingFaceH4/MATH-500",
    fields=("problem", "solution", "answer", "subject", "level", "unique_id"),
    unique="unique_id",
    official={
        "test": Official(
            500,
            sha256="35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132",
            content="d70c5c04fb05cf7dcc268091163c75e49591d243924b373e143e38c306ffd086",
        )
    },
)


def read(split: str, path: Path | None, limit: int | None, seed: int) -> Rows:
    """Read a split, all of it: `load` takes the limited subset."""
    return read_table(TABLE, split, path, problem)


def problem(row: Row, identity: str) -> Problem:
    """Make a problem of a row; the gold is the row's own `answer`."""
    return Problem(
        id=identity,
        question=row["problem"],
        answer=row["answer"],
        dataset=TABLE.name,
        tags={
            "level": row["level"],
            "subject": row["subject"],
            "solution": row["solution"],
            "unique_id": row["unique_id"],
        },
    )


def demonstration(problem: Problem) -> str:
    """Return the reference solution."""
    return problem.tags["solution"]
