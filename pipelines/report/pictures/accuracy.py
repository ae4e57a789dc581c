"""Held-out accuracy of each iteration's policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.pictures.picture import NothingToDraw, Picture
from pipelines.report.run import Run, accuracy, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _draw(run: Run, theme: style.Theme) -> Figure:
    from matplotlib.ticker import MaxNLocator

    tasks = [task for task in run.tasks() if any(accuracy(row, task) for row in run.iterations)]
    if not tasks:
        raise NothingToDraw("no evaluation has finished yet")
    figure = style.figure(theme)
    axes = figure.axes[0]
    ends = []
    for place, task in enumerate(tasks):
        colour = theme.cycle[place % len(theme.cycle)]
        points = [
            (number(row, "iteration") or 0.0, found)
            for row in run.iterations
            if (found := accuracy(row, task)) is not None
        ]
        # Tasks stand a little apart, so that their intervals do not cover each other.
        x = [iteration + 0.06 * (place - (len(tasks) - 1) / 2) for iteration, _ in points]
        y = [found.value for _, found in points]
        below = [found.value - found.low for _, found in points]
        above = [found.high - found.value for _, found in points]
        axes.errorbar(x, y, yerr=(below, above), fmt="none", ecolor=colour, alpha=0.45, lw=1.6)
        axes.plot(x, y, "o-", color=colour, linewidth=1.9, markersize=4.5)
        ends.append(style.EndLabel(x[-1], y[-1], f"{task}\n{y[-1]:.1%}", colour))
    last = max(number(row, "iteration") or 0.0 for row in run.iterations)
    axes.set_xlim(-0.25, max(last, 1.0) + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("iteration (0: before the first policy step)", fontsize=8.5, color=theme.faint)
    style.percent(axes)
    style.title(axes, theme, "Held-out accuracy", "questions solved greedily; bars: 95% intervals")
    style.label_ends(axes, ends, lines=2)
    return figure


PICTURE = Picture(
    "accuracy",
    "Held-out accuracy",
    "Questions that no training has seen, answered greedily, checked by the verifier. "
    "Bars are 95% Wilson intervals of one evaluation, not of the training's luck.",
    _draw,
)
