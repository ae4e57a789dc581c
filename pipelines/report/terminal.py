"""The end of a run on the terminal: the table of iterations, and where everything lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import places
from pipelines.report import spent, table
from pipelines.report.console import as_text, grid
from pipelines.report.run import Run
from pipelines.report.visible import visible

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

PLACES = (
    ("report.html", "the report: pictures, samples, settings"),
    ("metrics", "numbers per policy step and per iteration, pictures"),
    ("iterations", "what each phase made"),
)


def summary(run: Run, width: int | None = None) -> str:
    """Return the run's table and its places as text; coloured where it goes to a terminal."""
    return as_text(content(run), width)


def content(run: Run) -> Group:
    """Return the summary for a rich console."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Grid | Text] = []
    if run.iterations:
        tables = [table.brief(run), spent.by_part(run)]
        parts += [part for it in tables if it.rows for part in (_drawn(it), Text())][:-1]
        outside = spent.outside(run)
        if outside is not None:
            parts.append(
                Text(f"outside of generation, scoring and training: {outside:.1%} of an iteration")
            )
    else:
        parts.append(Text("No evaluation has finished yet."))
    parts += [Text(visible(line)) for line in run.progress()]
    parts += [Text(visible(note), style="yellow") for note in run.notes[:5]]
    parts.append(Text())
    policy = last_policy(run.path)
    places = ((str(policy), "the trained policy"), *PLACES) if policy else PLACES
    shown = [(name, what) for name, what in places if (run.path / name).exists()]
    width = max((len(str(run.path / name)) for name, _ in shown), default=0)
    for name, what in shown:
        line = Text(visible(str(run.path / name)).ljust(width + 2), overflow="fold")
        parts.append(line.append(what, style="dim"))
    return Group(*parts)


def _drawn(made: table.Table) -> Grid:
    from rich.text import Text

    drawn = grid(*map(visible, made.headings), left=0)
    for row in made.rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row))
    return drawn


def last_policy(run: Path) -> Path | None:
    """Return where the newest finished policy lies, relative to the run, or None."""
    policies = [folder / "optimize" / "policy" for folder in places.iterations(run)]
    found = [folder for folder in policies if folder.is_dir()]
    return found[-1].relative_to(run) if found else None
