"""ASDiv (arXiv:2106.15772): 2,305 elementary-school word problems of many kinds, for evaluation.

A row has `body`, `question` and `answer`, such as "9 (apples)", and more that is not read. The
hub's only split, called validation there, is the test split here: nothing may be trained on it.
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
    name="asdiv",
    hub="EleutherAI/asdiv",
    fields=("body", "question", "answer"),
    official={"test": Official(2305)},
    hub_splits={"test": "validation"},
)


def read(split: str, path: Path | None, limit: int | None, seed: int) -> Rows:
    """Read a split, all of it: `load` takes the limited subset."""
    return read_table(TABLE, split, path, problem)


def problem(row: Row, identity: str) -> Problem:
    """Make a problem of a row. Raises ValueError for an answer that is only a unit."""
    gold, _, unit = row["answer"].partition("(")
    if not gold.strip():
        raise ValueError(f"the answer {row['answer']!r} has no value before its unit")
    return Problem(
        id=identity,
        question=f"{row['body'].strip()} {row['question'].strip()}",
        answer=gold.strip().replace(",", ""),
        dataset=TABLE.name,
        tags={"unit": unit.rstrip(") ")},
    )


def demonstration(problem: Problem) -> str:
    """Return the answer alone: the set has no worked solutions."""
    return f"#### {problem.answer}"
