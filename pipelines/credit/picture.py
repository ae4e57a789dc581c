"""One solution under every rule: a row a step, a column of bars a rule."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.credit.comparison import Solution
from pipelines.credit.excerpt import ShownStep, heading, left_out, steps
from pipelines.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = 34
"""Characters of a step beside its bars."""


def png(solution: Solution, rules: Sequence[str], theme: style.Theme = style.LIGHT) -> bytes:
    """Return the picture of a solution as PNG."""
    made = draw(solution, rules, theme)
    with warnings.catch_warnings():
        # A policy may write in any script; what the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        return style.png(made, theme)


def draw(solution: Solution, rules: Sequence[str], theme: style.Theme) -> Figure:
    """Draw the steps' rewards, and beside them their advantages under each rule.

    Rewards have a scale of their own; the rules share one, so that bars compare across them.
    """
    shown = steps(solution, TEXT)
    size = (3.2 + 1.15 * (len(rules) + 1), 1.15 + 0.3 * len(shown))
    figure = style.figure(theme, panels=len(rules) + 1, size=size)
    figure.suptitle(
        heading(solution), x=0.01, ha="left", fontsize=9, color=theme.ink, parse_math=False
    )
    first, *others = figure.axes
    rewards = [step.reward for step in shown]
    _bars(first, theme, "reward", rewards, [theme.faint] * len(shown))
    # Rewards are shares as a rule: a low one must look low, even beside none that is higher.
    first.set_xlim(1.9 * min(0.0, *rewards), 1.9 * max(1.0, *rewards))
    _name_steps(first, theme, shown, left_out(solution))
    columns = {rule: solution.advantages[rule][: len(shown)] for rule in rules}
    reach = max(abs(value) for column in columns.values() for value in column) or 1.0
    for axes, (rule, values) in zip(others, columns.items(), strict=True):
        colours = [theme.truth if value > 0 else theme.model for value in values]
        _bars(axes, theme, rule.replace("_", " "), values, colours)
        # Room for the numbers at the ends of the longest bars.
        axes.set_xlim(-1.9 * reach, 1.9 * reach)
    return figure


def _bars(
    axes: Axes, theme: style.Theme, name: str, values: Sequence[float], colours: Sequence[str]
) -> None:
    axes.barh(range(len(values)), values, color=colours, height=0.62)
    axes.axvline(0, color=theme.faint, linewidth=0.8)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title(name, loc="center", fontsize=9, color=theme.ink)
    for row, value in enumerate(values):
        axes.annotate(
            f"{value:.2f}" if name == "reward" else f"{value:+z.2f}",
            (value, row),
            (3 if value >= 0 else -3, 0),
            textcoords="offset points",
            ha="left" if value >= 0 else "right",
            va="center",
            fontsize=7.5,
            color=theme.ink,
            annotation_clip=False,
        )


def _name_steps(axes: Axes, theme: style.Theme, shown: Sequence[ShownStep], more: str) -> None:
    """Write each step beside its row, the first one on top."""
    names = [f"{step.number}  {step.text}" for step in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=8, color=theme.ink, parse_math=False)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    if more:
        axes.set_xlabel(more, fontsize=8, color=theme.faint)
