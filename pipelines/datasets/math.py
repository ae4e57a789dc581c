r"""MATH (arXiv:2103.03874): 12,500 competition problems with worked solutions, gold in `\boxed{}`.

A row has `problem`, `level`, `type` and `solution`. The texts come from competitions, and their
owners had one copy taken off the hub: the mirror's own terms hold for whoever reads it.
"""

from __future__ import annotations

from pathlib import Path

from iterative_grpo.types import Problem
from pipelines.datasets._boxed import last_boxed
from pipelines.datasets._jsonl import Row
from pipelines.datasets._split import Rows
from pipelines.datasets._tables import Official, Table, read_table

VERIFIER = "math"
PROMPT = "deepseek_math_cot"

TABLE = Table(
    name="math",
    hub="EleutherAI/hendrycks_math",
    configurations=(
        "algebra",
        "counting_and_probability",
        "geometry",
        "intermediate_algebra",
        "number_theory",
        "prealgebra",
        "precalculus",
    ),
    fields=("problem", "level", "type", "solution"),
    # The set is one file a problem, without an order: a whole split has no bytes of its own.
    official={
        "train": Official(
            7500, content="cf25bf8a3560d4e899b4254602e86664c75073f58f8cd31f4cca963586b12350"
        ),
        "test": Official(
            5000, content="5b8fcdc0a52f1f781ab7cf4cb9069b3838dfed406f70009e80fe89efbafc7c1e"
        ),
    },
    # Two problems of train, on primes near n! and near a primorial, have an empty box.
    unanswered=frozenset(
        {
            "d902db05be7818a5cb6bab1b47467599c406d0b263516be1351fe43a79e2839b",
            "3f8f90610937633b75797b1edd015c55720080145665f32dc8809e56175b1aea",
        }
    ),
)


def read(split: str, path: Path | None, limit: int | None, seed: int) -> Rows:
    """Read a split, all of it: `load` takes the limited subset."""
    return read_table(TABLE, split, path, problem)


def problem(row: Row, identity: str) -> Problem:
    r"""Make a problem of a row. Raises ValueError for a solution without a complete `\boxed{}`."""
    gold = last_boxed(row["solution"])
    if not gold:
        raise ValueError(r"the solution has no complete, filled \boxed{}")
    return Problem(
        id=identity,
        question=row["problem"],
        answer=gold,
        dataset=TABLE.name,
        tags={
            "level": row["level"].removeprefix("Level "),
            "subject": row["type"],
            "solution": row["solution"],
        },
    )


def demonstration(problem: Problem) -> str:
    """Return the reference solution."""
    return problem.tags["solution"]
