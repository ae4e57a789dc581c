"""SVAMP (arXiv:2103.07191): 1,000 one-step word problems that vary the wording, not the sums.

A row has `Body`, `Question` and `Answer`, and more that is not read.
"""

from __future__ import annotations

from pathlib import Path

from iterative_grpo.types import Problem
from pipelines.datasets._jsonl import Row
from pipelines.datasets._split import Rows
from pipelines.datasets._tables import Official, Table, read_table

VERIFIER = "gsm8k"
PROMPT = "plain"

TABLE = Table(
    name="svamp",
    hub="ChilleD/SVAMP",
    fields=("Body", "Question", "Answer"),
    official={"train": Official(700), "test": Official(300)},
)


def read(split: str, path: Path | None, limit: int | None, seed: int) -> Rows:
    """Read a split, all of it: `load` takes the limited subset."""
    return read_table(TABLE, split, path, problem)


def problem(row: Row, identity: str) -> Problem:
    """Make a problem of a row. Whole answers are stored as "8.0"; the gold is "8"."""
    return Problem(
        id=identity,
        question=f"{row['Body'].strip()} {row['Question'].strip()}",
        answer=row["Answer"].strip().removesuffix(".0"),
        dataset=TABLE.name,
    )


def demonstration(problem: Problem) -> str:
    """Return the answer alone: the set has no worked solutions."""
    return f"#### {problem.answer}"
