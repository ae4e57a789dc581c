"""The comparison on the terminal: accuracies, what became of answers, who changed sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.comparison.comparing import Comparison, Switched
from pipelines.comparison.tables import accuracies, fates
from pipelines.report.console import as_text, grid
from pipelines.report.visible import visible

if TYPE_CHECKING:
    from rich.console import Group

SHOWN = 5
"""Questions of a task that are listed for each side; the page has more, the file all."""


def text(comparison: Comparison, width: int | None = None) -> str:
    """Return the whole comparison; coloured where it goes to a terminal."""
    return as_text(content(comparison), width)


def content(comparison: Comparison) -> Group:
    """Return the comparison for a rich console."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = [
        Text(visible(f"A  {comparison.first.place}")),
        Text(visible(f"B  {comparison.second.place}")),
    ]
    for found in (accuracies(comparison), fates(comparison)):
        drawn = grid(*found.headings, gap=2)
        for row in found.rows:
            drawn.add_row(*(Text(visible(cell)) for cell in row))
        parts += [Text(), drawn]
    for task in comparison.tasks:
        for gained, side in ((True, "B"), (False, "A")):
            chosen = [it for it in task.switched if it.gained is gained]
            if chosen:
                parts += [Text(), Text(f"{task.task}: right in {side} only, {len(chosen)}")]
                parts += [Text(_line(it), style="dim") for it in chosen[:SHOWN]]
    for task in comparison.tasks:
        parts += [Text(visible(f"{task.task}: {it}"), style="yellow") for it in task.notes]
    parts += [Text(visible(note), style="yellow") for note in comparison.notes]
    return Group(*parts)


def _line(switched: Switched) -> str:
    question = " ".join(switched.question.split())
    first, second = (answer.extracted or answer.outcome for answer in
                     (switched.first, switched.second))  # fmt: skip
    return visible(
        f"  {switched.id}  {question[:60]!r}  A {first[:24]}  B {second[:24]}  "
        f"gold {switched.gold[:24]}"
    )
