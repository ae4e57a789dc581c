"""An evaluation in pictures: accuracy by task, by subject and level, and by number of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.evaluation.scoring import AGGREGATIONS
from pipelines.evaluation.terminal import metric
from pipelines.report import style
from pipelines.report.visible import visible
from pipelines.report.writing import replace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Figures = Mapping[str, Any]

MOST_BARS = 40
"""Values of a tag that a picture has room for."""


def draw(found: Sequence[Figures], folder: Path) -> list[Path]:
    """Draw accuracy.png, and for each task that has them STEM.TAG.png and STEM.samples.png."""
    theme = style.LIGHT
    made = {"accuracy": _tasks(found, theme)}
    for figures in found:
        stem = figures["task"].replace("/", ".")
        for tag, by in figures["by"].items():
            if 1 < len(by) <= MOST_BARS:
                made[f"{stem}.{tag}"] = _groups(figures["task"], tag, by, theme)
        if "samples" in figures and len(_sizes(figures)) > 1:
            made[f"{stem}.samples"] = _samples(figures, theme)
    paths = []
    for name, picture in made.items():
        paths.append(folder / f"{name}.png")
        replace(paths[-1], style.png(picture, theme))
    return paths


def _tasks(found: Sequence[Figures], theme: style.Theme) -> Figure:
    figure = style.figure(theme, size=(5.6, 1.5 + 0.45 * len(found)))
    axes = figure.axes[0]
    rows = {f"{it['task']}, n = {it['n']:,}": it for it in found}
    _bars(axes, theme, rows, theme.truth)
    style.title(axes, theme, "Accuracy", "greedy answers; lines: 95% Wilson intervals")
    return figure


def _groups(task: str, tag: str, by: Mapping[str, Figures], theme: style.Theme) -> Figure:
    figure = style.figure(theme, size=(5.6, 1.4 + 0.32 * len(by)))
    axes = figure.axes[0]
    _bars(axes, theme, {f"{name} ({it['n']:,})": it for name, it in by.items()}, theme.truth)
    style.title(axes, theme, f"{visible(task)} by {tag}", "greedy answers; 95% Wilson intervals")
    return figure


def _bars(axes: Axes, theme: style.Theme, rows: Mapping[str, Figures], colour: str) -> None:
    """Draw a bar for each row, the first one on top, with its interval and its value."""
    places = list(range(len(rows)))
    values = [it["accuracy"] for it in rows.values()]
    below = [it["accuracy"] - it["low"] for it in rows.values()]
    above = [it["high"] - it["accuracy"] for it in rows.values()]
    axes.barh(places, values, height=0.62, color=colour, alpha=0.75)
    axes.errorbar(values, places, xerr=(below, above), fmt="none", ecolor=theme.ink, elinewidth=1.3)
    for place, it in zip(places, rows.values(), strict=True):
        axes.annotate(
            f"{it['accuracy']:.1%}",
            (it["high"], place),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=theme.ink,
        )
    axes.set_yticks(places, [visible(name) for name in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, min(1.0, 1.15 * max(it["high"] for it in rows.values())))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=theme.grid, linewidth=0.8)


def _sizes(figures: Figures) -> list[int]:
    """Return the k of pass@k and the others, which all have the same."""
    return [int(k) for k in next(iter(figures["samples"]["metrics"].values()))]


def _samples(figures: Figures, theme: style.Theme) -> Figure:
    made = figures["samples"]
    figure = style.figure(theme, size=(6.2, 3.8))
    axes = figure.axes[0]
    ends = []
    colours = {"pass": theme.truth, "maj": theme.third, "rm": theme.model}
    lines = dict(zip(AGGREGATIONS, ("-", "--", "-.", ":"), strict=True))
    for name, by_k in made["metrics"].items():
        kind, _, how = name.partition("_")
        colour = colours[kind]
        x = [int(k) for k in by_k]
        y = [it["value"] for it in by_k.values()]
        low, high = ([it[side] for it in by_k.values()] for side in ("low", "high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
        axes.plot(x, y, lines.get(how, "-"), color=colour, linewidth=1.9, marker="o", markersize=4)
        ends.append(style.EndLabel(x[-1], y[-1], f"{metric(name)} {y[-1]:.1%}", colour))
    axes.axhline(figures["accuracy"], color=theme.faint, linewidth=1)
    ends.append(
        style.EndLabel(1, figures["accuracy"], f"greedy {figures['accuracy']:.1%}", theme.faint)
    )
    sizes = _sizes(figures)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(k) for k in sizes])
    axes.minorticks_off()
    axes.set_xlim(min(sizes), max(sizes))
    axes.set_xlabel("k, samples to choose from", fontsize=8.5, color=theme.faint)
    style.percent(axes)
    style.title(
        axes,
        theme,
        f"{visible(figures['task'])}: what samples hold, and who finds it",
        f"means over all subsets of k of {made['of_each_question']}; bands: 95% intervals over "
        "questions",
    )
    style.label_ends(axes, ends)
    return figure
