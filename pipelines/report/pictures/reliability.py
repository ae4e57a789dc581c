"""Whether the reward model's scores are frequencies: the last iteration's reliability plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.pictures.picture import NothingToDraw, Picture
from pipelines.report.run import Row, Run, section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Bar = tuple[float, float, float]
"""Mean score, mean label, and number of ends of one bin."""


def bars(row: Row) -> list[Bar]:
    """Return the bins of an iteration's row, none if it has none."""
    found = section(row, "reward_model").get("reliability")
    return [(bar[0], bar[1], bar[2]) for bar in found] if isinstance(found, list) else []


def _draw(run: Run, theme: style.Theme) -> Figure:
    judged = [row for row in run.begun if bars(row)]
    if not judged:
        why = (
            f"the policy is rewarded by {run.rewarded_by}, so no reward model is trained"
            if run.rewarded_by
            else "no reward model has been measured yet"
        )
        raise NothingToDraw(why)
    figure = style.figure(theme, size=(5.6, 3.6))
    axes = figure.axes[0]
    axes.plot([0, 1], [0, 1], color=theme.grid, linewidth=1.2, zorder=0)
    ends = []
    shown = [(judged[0], theme.faint), (judged[-1], theme.model)][-min(2, len(judged)) :]
    for row, colour in shown:
        points = bars(row)
        total = sum(count for _, _, count in points)
        x, y = [score for score, _, _ in points], [label for _, label, _ in points]
        axes.plot(x, y, color=colour, linewidth=1.2)
        sizes = [8 + 220 * count / total for _, _, count in points]
        axes.scatter(x, y, s=sizes, color=colour, alpha=0.75, linewidths=0)
        ends.append(style.EndLabel(x[-1], y[-1], f"iteration {row.get('iteration')}", colour))
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel("mean score of the bin", fontsize=8.5, color=theme.faint)
    style.title(axes, theme, "Reward model: reliability", "share of right ends, held-out questions")
    style.label_ends(axes, ends)
    return figure


PICTURE = Picture(
    "reward_model_reliability",
    "Reward model: reliability",
    "Ends in ten bins of their score: on the line, of those scored 0.8 eight in ten are right. "
    "Below it the model promises too much. A larger dot stands for more ends.",
    _draw,
)
