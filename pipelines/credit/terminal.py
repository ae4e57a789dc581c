"""The comparison on the terminal: a table a solution, then what each rule pays for length."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.credit.bias import Bias, biases
from pipelines.credit.comparison import Comparison, Solution
from pipelines.credit.excerpt import heading, left_out, steps
from pipelines.report.console import as_text, grid
from pipelines.report.visible import visible

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

TEXT = 24
"""Characters of a step in the table."""


def text(comparison: Comparison, limit: int, width: int | None = None) -> str:
    """Return the first `limit` solutions and the biases; coloured where it goes to a terminal."""
    return as_text(content(comparison, limit), width)


def content(comparison: Comparison, limit: int) -> Group:
    """Return the tables for a rich console."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Table | Text] = []
    for solution in comparison.solutions[:limit]:
        parts += [Text(heading(solution)), _solution(solution, comparison.rules)]
        if more := left_out(solution):
            parts.append(Text(more, style="dim"))
        parts.append(Text())
    found = biases(comparison)
    counts = {bias.kind: bias.solutions for bias in found}
    parts += [
        Text("Correlation of the first token's advantage with the number of steps and of tokens"),
        _biases(found, comparison.trained_with),
        Text(
            "solutions: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()),
            style="dim",
        ),
    ]
    if comparison.trained_with is not None:
        parts.append(Text("* the rule that the run was trained with", style="dim"))
    parts += [Text(visible(f"note: {note}"), style="yellow") for note in comparison.notes]
    return Group(*parts)


def _solution(solution: Solution, rules: tuple[str, ...]) -> Table:
    from rich.text import Text

    table = grid("step", "reward", *(rule.replace("_", "\n") for rule in rules))
    for place, step in enumerate(steps(solution, TEXT)):
        table.add_row(
            Text(f"{step.number:2} {step.text}"),
            Text(f"{step.reward:.2f}"),
            *(Text(f"{solution.advantages[rule][place]:+z.2f}") for rule in rules),
        )
    return table


def _biases(found: list[Bias], trained_with: str | None) -> Table:
    from rich.text import Text

    kinds = list(dict.fromkeys(bias.kind for bias in found))
    table = grid("rule", *(f"{kind}\n{of}" for kind in kinds for of in ("steps", "tokens")))
    for rule in dict.fromkeys(bias.rule for bias in found):
        by_kind = {bias.kind: bias for bias in found if bias.rule == rule}
        cells = [v for kind in kinds for v in (by_kind[kind].steps, by_kind[kind].tokens)]
        table.add_row(
            Text(rule + ("*" if rule == trained_with else "")),
            *(Text("-" if value is None else f"{value:+z.2f}") for value in cells),
        )
    return table
