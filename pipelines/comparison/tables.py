"""The tables of a comparison, as the terminal and the page both show them."""

from __future__ import annotations

from pipelines.comparison.comparing import Accuracy, Comparison, TaskComparison
from pipelines.report.table import Table


def accuracies(comparison: Comparison) -> Table:
    """Return accuracy by task, the difference with its interval, and McNemar's test."""
    rows = [_row(task, it) for task in comparison.tasks for it in task.accuracies]
    headings = ("task", "answers", "questions", "A", "B", "B - A, points", "gained", "lost", "p")
    return Table(headings, tuple(rows))


def fates(comparison: Comparison) -> Table:
    """Return how many answers were not right and why, by task; kinds that nobody has left out."""
    rows = [
        (
            task.task,
            change.name,
            f"{change.first}",
            f"{change.second}",
            f"{change.second - change.first:+d}",
            probability(change.p),
        )
        for task in comparison.tasks
        for change in task.fates
        if change.first or change.second
    ]
    return Table(("task", "greedy answers", "A", "B", "B - A", "p"), tuple(rows))


def _row(task: TaskComparison, it: Accuracy) -> tuple[str, ...]:
    lead = it.difference
    points = f"{lead.value * 100:+.1f} [{lead.low * 100:+.1f}, {lead.high * 100:+.1f}]"
    tested = task.correct if it.answers == "greedy" else None
    return (
        task.task,
        it.answers,
        f"{it.questions:,}",
        f"{it.first:.1%}",
        f"{it.second:.1%}",
        points,
        "" if tested is None else f"{tested.gained}",
        "" if tested is None else f"{tested.lost}",
        "" if tested is None else probability(tested.p),
    )


def probability(p: float) -> str:
    """Return a p-value as people read it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
