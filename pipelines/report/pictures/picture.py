"""What a picture is, and how values over policy steps are drawn in all of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.run import Row, Run, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class NothingToDraw(ValueError):
    """The run has no values for a picture; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a run.

    `name` is its file's, `reading` says what to look for. `draw` raises `NothingToDraw`.
    """

    name: str
    heading: str
    reading: str
    draw: Callable[[Run, style.Theme], Figure]


@dataclass(frozen=True, slots=True)
class Curve:
    """Values over policy steps: ascending `x`, with `y` and the `iteration` of each as long."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    iteration: tuple[float, ...]

    @property
    def window(self) -> int:
        """Steps in a running mean: a twentieth of the curve."""
        return max(1, len(self.y) // 20)

    def means(self, apart: bool = False) -> list[float]:
        """Return the running mean; `apart` starts it again in each iteration."""
        if not apart:
            return style.smooth(self.y, self.window)
        means: list[float] = []
        for _, part in itertools.groupby(zip(self.iteration, self.y, strict=True), lambda p: p[0]):
            means += style.smooth([y for _, y in part], self.window)
        return means


def curve(steps: Sequence[Row], key: str) -> Curve:
    """Return a key's values over policy steps, without the steps that do not have it."""
    points = [
        (number(row, "global_step") or float(index), value, number(row, "iteration") or 0.0)
        for index, row in enumerate(steps, start=1)
        if (value := number(row, key)) is not None
    ]
    return Curve(
        x=tuple(x for x, _, _ in points),
        y=tuple(y for _, y, _ in points),
        iteration=tuple(iteration for _, _, iteration in points),
    )


def score_curve(steps: Sequence[Row]) -> Curve:
    """Return what the reward model says of whole outputs, else its mean over their steps."""
    whole = curve(steps, "score")
    return whole if whole.x else curve(steps, "reward/model")


def needs_steps(run: Run) -> None:
    """Refuse a run that has not made a policy step yet."""
    if not run.steps:
        raise NothingToDraw("the policy has made no optimizer step yet")


def draw_curve(axes: Axes, values: Curve, colour: str, apart: bool = False) -> float:
    """Draw single steps faintly and their running mean strongly; return the mean's last value.

    `apart` draws each iteration by itself.
    """
    means = values.means(apart)
    parts = values.iteration if apart else (0.0,) * len(means)
    for part in sorted(set(parts)):
        chosen = [i for i, found in enumerate(parts) if found == part]
        x = [values.x[i] for i in chosen]
        if values.window > 1:
            axes.plot(x, [values.y[i] for i in chosen], color=colour, linewidth=0.7, alpha=0.3)
        marker = "o" if len(x) == 1 else ""
        y = [means[i] for i in chosen]
        axes.plot(x, y, color=colour, linewidth=1.9, marker=marker, markersize=4)
    return means[-1]


def mark_iterations(axes: Axes, theme: style.Theme, steps: Sequence[Row]) -> None:
    """Draw a thin line where an iteration begins, with its number where there is room."""
    starts: dict[float, float] = {}
    for index, row in enumerate(steps, start=1):
        iteration = number(row, "iteration")
        if iteration is not None:
            starts.setdefault(iteration, (number(row, "global_step") or index) - 0.5)
    room = 1 < len(starts) <= 15
    if room:
        low, high = axes.get_ylim()
        axes.set_ylim(top=high + 0.07 * (high - low))
    for which, (iteration, start) in enumerate(sorted(starts.items())):
        if which:
            axes.axvline(start, color=theme.grid, linewidth=0.9, zorder=0)
        if room:
            word = "iteration " if which == 0 and len(starts) <= 8 else ""
            axes.annotate(
                f"{word}{iteration:.0f}",
                (start, 1),
                (2, -1),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                fontsize=7,
                color=theme.faint,
            )


def step_axis(axes: Axes, theme: style.Theme, steps: Sequence[Row]) -> None:
    """Finish a horizontal axis of policy steps: limits, whole numbers, name, iterations."""
    from matplotlib.ticker import MaxNLocator

    last = number(steps[-1], "global_step") or float(len(steps))
    first = number(steps[0], "global_step") or 1.0
    axes.set_xlim(first - 0.5, max(last, first + 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.set_xlabel("policy step", fontsize=8.5, color=theme.faint)
    mark_iterations(axes, theme, steps)
