"""GSM8K (arXiv:2110.14168): 8.5 thousand grade-school word problems with whole-number answers.

A row has `question` and `answer`; the answer is a worked solution whose last line is `#### n`.
"""

from __future__ import annotations

import re
from pathlib import Path

from iterative_grpo.types import Problem
from pipelines.datasets._jsonl import Row
from pipelines.datasets._split import Rows
from pipelines.datasets._tables import Official, Table, read_table

VERIFIER = "gsm8k"
PROMPT = "plain"

TABLE = Table(
    name="gsm8k",
    hub="openai/gsm8k",
    configurations=("main",),
    fields=("question", "answer"),
    official={
        "train": Official(
            7473,
            sha256="17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
            content="2944b91e793b33b3da693b3426537e1da6e2d0fc39512954e30b93f57b4b0370",
        ),
        "test": Official(
            1319,
            sha256="3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
            content="228ac26460d42c879f304009ad9915cef6bfaa77a9d26eab825f55c81d466f14",
        ),
    },
)

_CALCULATOR_MARK = re.compile(r"<<[^<>]*>>")


def read(split: str, path: Path | None, limit: int | None, seed: int) -> Rows:
    """Read a split, all of it: `load` takes the limited subset."""
    return read_table(TABLE, split, path, problem)


def problem(row: Row, identity: str) -> Problem:
    """Make a problem of a row. Raises ValueError for an answer without `####` and a number."""
    solution, mark, gold = row["answer"].rpartition("####")
    gold = gold.strip().replace(",", "")
    if not mark or not gold:
        raise ValueError("the answer has no final answer after '####'")
    return Problem(
        id=identity,
        question=row["question"],
        answer=gold,
        dataset=TABLE.name,
        tags={"solution": _CALCULATOR_MARK.sub("", solution).strip()},
    )


def demonstration(problem: Problem) -> str:
    """Return the reference solution without calculator marks, `#### n` as its last line."""
    return f"{problem.tags['solution']}\n#### {problem.answer}".lstrip()
