"""What a task's rows amount to: shares with Wilson intervals, over all questions and by group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from iterative_grpo.types import Finish
from pipelines.evaluation.rendering import Rendered
from pipelines.report.intervals import wilson

Row = Mapping[str, Any]

WRONG = ("incorrect", "no_answer", "unparsed", "timeout")
"""The outcomes that are not right, never added up: each has another cause."""

GROUPS = ("subject", "level")
"""Tags by which a task's questions are told apart, where it has them."""


def figures(rendered: Rendered, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the figures of a task's greedy answers, with all that they depend on."""
    task = rendered.task
    return {
        "task": task.name,
        **counts(rows),
        "by": {tag: by for tag in GROUPS if (by := by_tag(rows, tag))},
        **rendered.as_row(),
        "verifier": task.verifier,
        "fingerprint": task.fingerprint,
        "content": task.content,
        "state": task.state,
        "notes": list(rendered.notes),
    }


def counts(rows: Sequence[Row]) -> dict[str, Any]:
    """Return accuracy with its interval, what became of the other answers, and their length.

    An answer that the token limit cut off also has an outcome: `truncated` counts across them.
    """
    outcomes = Counter(row["outcome"] for row in rows)
    tokens = sum(row["tokens"] for row in rows)
    return {
        **accuracy(outcomes["correct"], len(rows)),
        **{kind: outcomes[kind] for kind in WRONG},
        "truncated": sum(row["finish"] == Finish.LENGTH.value for row in rows),
        "mean_length": tokens / len(rows),
        "tokens": tokens,
    }


def accuracy(correct: int, n: int) -> dict[str, Any]:
    """Return the share of right answers with its 95 % Wilson interval."""
    found = wilson(correct, n)
    return {
        "n": n,
        "correct": correct,
        "accuracy": found.value,
        "low": found.low,
        "high": found.high,
    }


def by_tag(rows: Iterable[Row], tag: str) -> dict[str, dict[str, Any]]:
    """Return accuracy for each value of a tag, in order; rows without the tag are left out."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if tag in row["tags"]:
            groups[row["tags"][tag]].append(row["outcome"] == "correct")
    return {name: accuracy(sum(right), len(right)) for name, right in sorted(groups.items())}
