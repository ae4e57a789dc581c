"""An evaluation on the terminal: what is asked, and what came of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.evaluation.rendering import Rendered
from pipelines.progress import is_terminal
from pipelines.report.console import grid
from pipelines.report.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

FIRST_LINES = 60
"""Lines of a first prompt that are shown; the whole of it is in the figures."""


def show_task(rendered: Rendered) -> None:
    """Print a task, its exact first prompt, and what is worth knowing before it starts."""
    task = rendered.task
    print(visible(task.line))
    limits = f"at most {rendered.max_tokens:,} tokens"
    if rendered.stop:
        limits += f", stop at {', '.join(map(repr, rendered.stop))}"
    print(f"  prompt {task.prompt}, verified as {task.verifier}, {limits}; the first prompt:")
    lines = rendered.first.split("\n")
    for line in lines[:FIRST_LINES]:
        print(f"  | {visible(line)}")
    if len(lines) > FIRST_LINES:
        print(f"  ({len(lines) - FIRST_LINES} more lines, in the figures)")
    for note in rendered.notes:
        print(f"  note: {visible(note)}")


def show_figures(found: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Print the figures of all tasks, and where they lie."""
    from rich.console import Console

    columns = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else 200
    console = Console(width=columns, markup=False, emoji=False)  # names come from the data
    console.print(accuracies(found))
    for figures in found:
        for tag, groups in figures["by"].items():
            _heading(console, f"{figures['task']} by {tag}")
            console.print(by_group(tag, groups))
        if "samples" in figures:
            made = figures["samples"]
            _heading(
                console,
                f"{figures['task']}, {made['of_each_question']} samples of each question at "
                f"temperature {made['temperature']:g}",
            )
            console.print(by_size(made["metrics"]))
    print(f"{folder}: {', '.join(sorted(file.name for file in folder.glob('*.*')))}")


def accuracies(found: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row a task: greedy accuracy, and what became of the other answers."""
    table = grid("task", "questions", "right", "accuracy", "wrong", "no answer", "unparsed",
                   "timeout", "truncated", "mean tokens")  # fmt: skip
    for it in found:
        table.add_row(
            visible(it["task"]),
            f"{it['n']:,}",
            f"{it['correct']:,}",
            share(it["accuracy"], it["low"], it["high"]),
            *(f"{it[key]:,}" for key in ("incorrect", "no_answer", "unparsed", "timeout")),
            f"{it['truncated']:,}",
            f"{it['mean_length']:.1f}",
        )
    return table


def by_group(tag: str, groups: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return one row a subject or level."""
    table = grid(tag, "questions", "right", "accuracy")
    for name, it in groups.items():
        table.add_row(
            visible(name),
            f"{it['n']:,}",
            f"{it['correct']:,}",
            share(it["accuracy"], it["low"], it["high"]),
        )
    return table


def by_size(metrics: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    """Return one row a metric, a column a k."""
    sizes = list(next(iter(metrics.values())))
    table = grid("", *(f"k = {k}" for k in sizes))
    for name, by_k in metrics.items():
        cells = (share(it["value"], it["low"], it["high"]) for it in by_k.values())
        table.add_row(metric(name), *cells)
    return table


def metric(name: str) -> str:
    """Return a metric's name as people write it."""
    kind, _, how = name.partition("_")
    return f"{kind}@k{f' ({how})' if how else ''}"


def share(value: float, low: float, high: float) -> str:
    """Return a share in percent with its interval."""
    return f"{value:.1%} [{low * 100:.1f}, {high * 100:.1f}]"


def _heading(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold", markup=False)
