"""What is evaluated on: a split by name, and how it stands to the published set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iterative_grpo.types import Problem
from pipelines import datasets, questions
from pipelines.datasets import Split


@dataclass(frozen=True, slots=True)
class Task:
    """A split to evaluate on: its problems, the verifier's conventions, the prompt format.

    `fingerprint` is the sha256 of what was read, `content` the checksum of the questions asked and
    their golds (`datasets.checksum`). `state` says in words whether this is the published set.
    `data` is the folder of the data sets, None for the hub: some prompts have examples from there.
    """

    name: str
    problems: tuple[Problem, ...]
    fingerprint: str
    content: str
    state: str
    verifier: str
    prompt: str
    data: Path | None = None

    @property
    def stem(self) -> str:
        """The name as files have it."""
        return self.name.replace("/", ".")

    @property
    def line(self) -> str:
        """The task in a line for the terminal."""
        return (
            f"{self.name}: {len(self.problems):,} questions, {self.state}; "
            f"sha256 {self.fingerprint[:12]}, questions and answers {self.content[:12]}"
        )


class UnusableTasks(ValueError):
    """Tasks that cannot be evaluated together, or one without a question to ask."""


def load_tasks(
    names: Sequence[str],
    path: Path | None,
    limit: int | None,
    seed: int,
    prompt: str | None = None,
    verifier: str | None = None,
) -> list[Task]:
    """Load several tasks, each as `load_task` does.

    Raises UnusableTasks where two names are one task: both would write the same files.
    """
    parts = Counter("/".join(datasets.parted(name)) for name in names)
    repeated = [name for name, times in parts.items() if times > 1]
    if repeated:
        raise UnusableTasks(
            f"{repeated[0]} is named {parts[repeated[0]]} times in the tasks "
            f"{', '.join(names)}; name each task once"
        )
    return [load_task(name, path, limit, seed, prompt, verifier) for name in names]


def load_task(
    name: str,
    path: Path | None,
    limit: int | None,
    seed: int,
    prompt: str | None = None,
    verifier: str | None = None,
) -> Task:
    """Load a task named `data set` or `data set/split` (test if no split is named).

    `prompt` and `verifier` are the data set's own unless given. They belong together: a prompt that
    asks for a box is read by a convention that looks for one first.

    The hub's names of data sets are understood too: `openai/gsm8k`, `openai/gsm8k/train`.

    Raises:
        UnknownName: no such data set; the nearest name is in the message.
        UnusableTasks: no row has a gold that the verifier can read.
        ValueError: no such split, or data that cannot be read or used.
    """
    dataset, split = datasets.parted(name)
    module = datasets.find(dataset)
    made = getattr(module, "MADE", False)
    # Made on the spot, whatever folder the other tasks and the prompt's examples are read from.
    source = None if made else path
    rows = questions.load(dataset, split, source, limit, seed, 1.0)
    if not rows.problems:
        raise UnusableTasks(
            f"{name}: no question is left to ask, the golds of all {len(rows.rejected)} cannot be "
            f"read; first {rows.rejected[0]}. Mend the data"
        )
    return Task(
        name=f"{dataset}/{split}",
        problems=rows.problems,
        fingerprint=rows.fingerprint,
        content=datasets.checksum(rows.problems),
        state=f"made here, seed {seed}" if made else _state(rows, limit),
        verifier=verifier or module.VERIFIER,
        prompt=prompt or module.PROMPT,
        data=path,
    )


def _state(rows: Split, limit: int | None) -> str:
    """Say which part of the split this is, and how the split stands to the published one."""
    parts = []
    if limit is not None and limit < rows.rows:
        parts.append(f"{min(limit, rows.rows):,} of {rows.rows:,} rows (limit)")
    if rows.note:
        parts.append(rows.note)
    elif rows.official:
        parts.append("of the complete published set" if parts else "complete")
    if rows.rejected:
        shown = "; ".join(rows.rejected[:3]) + ("; ..." if len(rows.rejected) > 3 else "")
        parts.append(f"{len(rows.rejected)} left out ({shown})")
    return "; ".join(parts) or "not compared with a published set"
