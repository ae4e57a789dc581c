"""How well the reward model tells right from wrong, before and after each retraining."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.pictures.picture import NothingToDraw, Picture
from pipelines.report.run import Run, number, section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _points(run: Run, key: str) -> list[tuple[float, float]]:
    return [
        (number(row, "iteration") or 0.0, value)
        for row in run.begun
        if (value := number(section(row, "reward_model"), key)) is not None
    ]


def _line(axes: Axes, points: list[tuple[float, float]], colour: str, dashed: bool) -> None:
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        "--" if dashed else "-",
        marker="o",
        markersize=4.5,
        markerfacecolor=axes.get_facecolor() if dashed else colour,
        color=colour,
        linewidth=1.3 if dashed else 1.9,
    )


def _why_not(run: Run) -> str:
    if run.rewarded_by:
        return f"the policy is rewarded by {run.rewarded_by}, so no reward model is trained"
    if any(section(row, "reward_model") for row in run.begun):
        return "the held-out solutions are all right or all wrong, so there is nothing to rank"
    return "no reward model has been trained yet"


def _drawer(title: str, unit: str, keys: dict[str, str]) -> Callable[[Run, style.Theme], Figure]:
    """Return a drawer; `keys` maps metric keys to the names beside their lines.

    The first key is the retrained model on fresh samples, the second the model before it was
    retrained on the same samples, a third the retrained model on past iterations' samples.
    """

    def draw(run: Run, theme: style.Theme) -> Figure:
        from matplotlib.ticker import MaxNLocator

        lines = [(key, name, _points(run, key)) for key, name in keys.items()]
        lines = [line for line in lines if line[2]]
        if not lines:
            raise NothingToDraw(_why_not(run))
        colours = dict(zip(keys, (theme.model, theme.ink, theme.faint), strict=False))
        figure = style.figure(theme, size=(5.6, 3.1))
        axes = figure.axes[0]
        ends = []
        for key, name, points in lines:
            _line(axes, points, colours[key], dashed=key.endswith("_before"))
            x, y = points[-1]
            ends.append(style.EndLabel(x, y, f"{name} {y:.3f}", colours[key]))
        values = [y for _, _, points in lines for _, y in points]
        axes.set_ylim(min(*values, 0.5) - 0.05 if min(values) < 0.7 else 0.68, 1.0)
        iterations = [x for _, _, points in lines for x, _ in points]
        axes.set_xlim(min(iterations) - 0.2, max(*iterations, min(iterations) + 1) + 0.1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("iteration", fontsize=8.5, color=theme.faint)
        style.title(axes, theme, title, unit)
        style.label_ends(axes, ends)
        return figure

    return draw


PICTURES = (
    Picture(
        "reward_model_auroc",
        "Reward model: AUROC",
        "Chance that a right end scores above a wrong one, on questions kept out of its training: "
        "the ends of steps under process supervision, else of solutions. From before to after is "
        "what retraining on fresh samples gave.",
        _drawer(
            "Reward model: AUROC",
            "right above wrong ends, held-out questions; 0.5 is chance",
            {
                "auroc": "retrained",
                "auroc_before": "before",
                "auroc_frozen": "past samples",
            },
        ),
    ),
    Picture(
        "reward_model_pairs",
        "Reward model: pairs of one question",
        "The same chance for solutions of one question, which is all that group-relative "
        "advantages see. Below about 0.75 a policy games it at once.",
        _drawer(
            "Reward model: pairs of one question",
            "correct above incorrect within a group; 0.5 is chance",
            {"pair_accuracy": "retrained", "pair_accuracy_before": "before"},
        ),
    ),
)
