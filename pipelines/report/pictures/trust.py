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
    step_axis,
)
from pipelines.report.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _draw(run: Run, theme: style.Theme) -> Figure:
    needs_steps(run)
    model, truth = curve(run.steps, "reward/model"), curve(run.steps, "verifier_accuracy")
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
    style.label_ends(
        axes,
        [
            style.EndLabel(model.x[-1], believed, f"reward\nmodel {believed:.2f}", theme.model),
            style.EndLabel(truth.x[-1], true, f"true\naccuracy {true:.2f}", theme.truth),
        ],
        lines=2,
    )
    return figure


PICTURE = Picture(
    "score_and_truth",
    "Is the reward model being gamed?",
    "Both lines are means over the same rollouts. A score that rises while the accuracy stands "
    "still or falls is a reward model that the policy has learnt to please.",
    _draw,
)
