"""Where the time went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.pictures.picture import NothingToDraw, Picture
from pipelines.report.run import Row, Run, number, section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PHASES = ("start", "sample", "label", "retrain", "optimize", "evaluate")
"""In the order of Algorithm 1; phases with other names follow these."""


def shares(run: Run) -> dict[str, float]:
    """Return the seconds of each phase over the run, the optimize phase in its parts.

    Phases come in the order of Algorithm 1, parts in that of their first opening. What the optimize
    phase spends in no part is named "optimize: other".
    """
    totals: dict[str, float] = {}
    for row in run.begun:
        seconds = section(row, "seconds")
        for phase in seconds:
            for name, spent in _divided(row, phase).items():
                totals[name] = totals.get(name, 0.0) + spent
    of_phase = {name: name.partition(":")[0] for name in totals}
    order = list(dict.fromkeys([*PHASES, *of_phase.values()]))
    return dict(sorted(totals.items(), key=lambda item: order.index(of_phase[item[0]])))


def _divided(row: Row, phase: str) -> dict[str, float]:
    whole = number(section(row, "seconds"), phase)
    parts = section(section(section(row, "time"), "phases"), phase)
    if phase == "optimize" and parts:
        spent = {f"{phase}: {part}": number(section(parts, part), "seconds") for part in parts}
        return {name: seconds for name, seconds in spent.items() if seconds is not None}
    return {} if whole is None else {phase: whole}


def duration(seconds: float) -> str:
    """Write seconds as a person would: 0.4 s, 38 s, 4 min 10 s, 2 h 05 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _draw(run: Run, theme: style.Theme) -> Figure:
    spent = shares(run)
    total = sum(spent.values())
    if not total:
        raise NothingToDraw("no phase has finished yet")
    figure = style.figure(theme, size=(5.6, 0.9 + 0.3 * len(spent)))
    axes = figure.axes[0]
    names = list(spent)
    rows = range(len(names))
    colours = [theme.model if name.startswith("optimize") else theme.truth for name in names]
    axes.barh(rows, list(spent.values()), color=colours, height=0.68)
    axes.set_yticks(rows, names, fontsize=9, color=theme.ink)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    for row, length in zip(rows, spent.values(), strict=True):
        axes.annotate(
            f"{duration(length)}  {length / total:.0%}",
            (length, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=theme.ink,
            annotation_clip=False,
        )
    axes.set_xlim(0, max(spent.values()) * 1.02)
    style.title(axes, theme, f"Where the time went: {duration(total)} in phases")
    return figure


PICTURE = Picture(
    "time",
    "Where the time went",
    "Time inside phases, over all finished ones.",
    _draw,
)
