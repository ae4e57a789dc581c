"""Data sets, one file each: a name and a split in, problems with canonical golds out.

To add one, add a file with `VERIFIER` (the convention its answers are verified by), `PROMPT` (the
usual prompt format), `read(split, path, limit, seed) -> Rows` and `demonstration(problem) -> str`.
A set that makes its questions may say by `identity(problem) -> str` what tells them apart, which
decontamination then compares. Files whose name begins with `_` are shared parts.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from iterative_grpo import plugins
from iterative_grpo.types import Problem
from pipelines.datasets._content import checksum
from pipelines.datasets._jsonl import DataError
from pipelines.datasets._split import Rows, Split

__all__ = ["DataError", "DataSet", "Rows", "Split", "checksum", "find", "load", "parted"]


class DataSet(Protocol):
    """What a data set's file has to offer."""

    VERIFIER: str
    PROMPT: str

    def read(self, split: str, path: Path | None, limit: int | None, seed: int) -> Rows:
        """Read a split. A set that makes its problems makes `limit` of them; others read all."""
        ...

    def demonstration(self, problem: Problem) -> str:
        """Return a right solution of a problem, as the warm start shows it."""
        ...


def find(name: str) -> DataSet:
    """Return the data set called `name`; an unknown one is refused with the known names."""
    return cast(DataSet, plugins.find("pipelines.datasets", name, "data set"))


def parted(task: str) -> tuple[str, str]:
    """Return (data set, split) of an evaluation task's name: the test split where none is named.

    The hub's names of data sets are understood too: `openai/gsm8k`, `openai/gsm8k/train`.
    """
    dataset, _, split = task.partition("/")
    names = plugins.names("pipelines.datasets")
    for known in [] if dataset.strip().replace("-", "_") in names else names:
        try:
            hub = getattr(getattr(find(known), "TABLE", None), "hub", None)
        except plugins.BrokenPlugin:
            continue  # not what is asked for
        if hub is not None and (task == hub or task.startswith(f"{hub}/")):
            dataset, _, split = (known + task.removeprefix(hub)).partition("/")
    return dataset.strip(), split.strip() or "test"


def load(
    name: str,
    split: str,
    *,
    path: Path | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    check_gold: Callable[[str], None] | None = None,
    max_bad_golds: float = 0.0,
) -> Split:
    """Load one split of a data set.

    Args:
        name: a file of this folder, such as `gsm8k`.
        split: `train`, `validation` (carved out of train, see `_carving`) or `test`.
        path: a folder of JSON Lines with the hub's fields: PATH/NAME/SPLIT.jsonl or
            PATH/SPLIT.jsonl. None reads the hub. Made sets read no files.
        limit: the most problems; a larger limit keeps those of a smaller one.
        seed: chooses the subset, or the problems that are made.
        check_gold: raises ValueError for a gold that the verifier cannot read. Such rows are left
            out and named in `rejected`.
        max_bad_golds: the share of rejected rows above which loading is refused.

    Raises:
        DataError: no such folder or file, no answer from the hub, a row that cannot be used, or
            too many bad golds.
        ValueError: an unknown data set or split, or settings that make no sense.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"{name}: limit is {limit}, must be at least 1 (or none, for all)")
    if not 0.0 <= max_bad_golds <= 1.0:
        raise ValueError(f"{name}: max_bad_golds is {max_bad_golds}, must be a share in [0, 1]")
    rows = find(name).read(split, None if path is None else Path(path), limit, seed)
    if not isinstance(rows, Rows):
        raise DataError(f"data set {name}: read() returned {type(rows).__name__}, not Rows")
    twice = [i for i, times in Counter(p.id for p in rows.problems).items() if times > 1]
    if twice:
        raise DataError(
            f"{rows.source}: {len(twice)} ids of problems come more than once, {twice[0]!r} for "
            "one; rows are told apart by their ids"
        )
    chosen = _subset(rows.problems, limit, seed)
    rejected: list[str] = []
    if check_gold is not None:
        chosen, rejected = _check_golds(chosen, check_gold)
        if len(rejected) > max_bad_golds * (len(chosen) + len(rejected)):
            raise _too_many_bad_golds(rows, chosen, rejected, max_bad_golds)
    return Split(
        name=name,
        split=split,
        problems=tuple(chosen),
        fingerprint=rows.fingerprint,
        source=rows.source,
        rejected=(*rows.rejected, *rejected),
        note=rows.note,
        official=rows.official,
        rows=len(rows.problems),
    )


def _subset(problems: Sequence[Problem], limit: int | None, seed: int) -> list[Problem]:
    """Take `limit` problems by a seeded shuffle, in their original order."""
    if limit is None or limit >= len(problems):
        return list(problems)
    order = list(range(len(problems)))
    random.Random(f"subset/{seed}").shuffle(order)  # noqa: S311 - reproducible, guards nothing
    return [problems[index] for index in sorted(order[:limit])]


def _check_golds(
    problems: Sequence[Problem], check_gold: Callable[[str], None]
) -> tuple[list[Problem], list[str]]:
    kept: list[Problem] = []
    rejected: list[str] = []
    for problem in problems:
        try:
            check_gold(problem.answer)
        except ValueError as error:
            rejected.append(f"{problem.id}: {problem.answer!r} ({error})")
        else:
            kept.append(problem)
    return kept, rejected


def _too_many_bad_golds(
    rows: Rows, kept: Sequence[Problem], rejected: Sequence[str], allowed: float
) -> DataError:
    total = len(kept) + len(rejected)
    shown = "; ".join(rejected[:5]) + ("; ..." if len(rejected) > 5 else "")
    return DataError(
        f"{rows.source}: {len(rejected)} of {total} golds cannot be read by the verifier "
        f"({len(rejected) / total:.2%}, allowed {allowed:.2%}): {shown}. "
        "Mend the rows, or raise data.max_bad_golds to leave them out"
    )
