"""MAWPS (ACL N16-1136): one- and two-step word problems collected from several older sets.

The copy of Calc-X (arXiv:2305.15017) is read, whose train split is already rid of questions that
are nearly those of its other splits. A row has `question` and `result`, and more that is not read.
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
    name="mawps",
    hub="MU-NLPC/Calc-mawps",
    fields=("question", "result"),
    official={"train": Official(1089), "test": Official(520)},
)


def read(split: str, path: Path | None, limit: int | None, seed: int) -> Rows:
    """Read a split, all of it: `load` takes the limited subset."""
    return read_table(TABLE, split, path, problem)


def problem(row: Row, identity: str) -> Problem:
    """Make a problem of a row; the gold is a whole number, a decimal, or a fraction as "56/9"."""
    return Problem(
        id=identity,
        question=row["question"].strip(),
        answer=row["result"].strip(),
        dataset=TABLE.name,
    )


def demonstration(problem: Problem) -> str:
    """Return the answer alone: the set's worked solutions are for a calculator."""
    return f"#### {problem.answer}"
