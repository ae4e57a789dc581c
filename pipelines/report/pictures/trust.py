"""What the reward model believes beside what is true, on the same rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.pictures.picture import (
    NothingToDraw,
    Picture,
    curve,
    draw_curve,
    needs_steps,
    score_curve,
    step_axis,
)
from pipelines.report.run import Run, number, section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _draw(run: Run, theme: style.Theme) -> Figure:
    needs_steps(run)
    model, truth = score_curve(run.steps), curve(run.steps, "verifier_accuracy")
    if not model.x:
        why = (
            "the policy is rewarded by the verifier, so there is no reward model to compare"
            if run.setting("reward") == "verifier"
            else "no policy step has logged a reward model's score"
        )
        raise NothingToDraw(why)
    if not truth.x:
        raise NothingToDraw("no policy step has logged the verifier's accuracy")
    figure = style.figure(theme)
    axes = figure.axes[0]
    believed = draw_curve(axes, model, theme.model)
    true = draw_curve(axes, truth, theme.truth)
    if model.x == truth.x:
        axes.fill_between(
            model.x, model.means(), truth.means(), color=theme.model, alpha=0.10, linewidth=0
        )
    style.title(
        axes,
        theme,
        "The reward model's score and the truth",
        "mean over the same rollouts; faint: single steps",
    )
    step_axis(axes, theme, run.steps)
    _mark_watch(axes, theme, run)
    style.label_ends(
        axes,
        [
            style.EndLabel(model.x[-1], believed, f"reward\nmodel {believed:.2f}", theme.model),
            style.EndLabel(truth.x[-1], true, f"true\naccuracy {true:.2f}", theme.truth),
        ],
        lines=2,
    )
    return figure


def _mark_watch(axes: Axes, theme: style.Theme, run: Run) -> None:
    """Draw a dotted line where the watch first called for a new reward model."""
    spoken = {
        (number(row, "iteration"), number(section(row, "watch"), "step")) for row in run.begun
    }
    for place, row in enumerate(run.steps, start=1):
        if (number(row, "iteration"), number(row, "step")) in spoken:
            at = number(row, "global_step") or float(place)
            axes.axvline(at, color=theme.model, linewidth=1.0, linestyle=":")


PICTURE = Picture(
    "score_and_truth",
    "Is the reward model being gamed?",
    "Both lines are means over the same rollouts. A score that rises while the accuracy stands "
    "still or falls is a reward model that the policy has learnt to please. Dotted: "
    "where the watch first called for a new reward model.",
    _draw,
)
