"""How far the policy has moved from its reference, and from where the run began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.pictures.picture import (
    Curve,
    NothingToDraw,
    Picture,
    curve,
    draw_curve,
    needs_steps,
    step_axis,
)
from pipelines.report.run import Run, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def to_initial(run: Run) -> Curve:
    """Return the divergence from the initial policy: of each step, else of each iteration's end."""
    stepwise = curve(run.steps, "kl_initial")
    if stepwise.x:
        return stepwise
    ends = {
        number(row, "iteration"): number(row, "global_step") or float(place)
        for place, row in enumerate(run.steps, start=1)
    }
    points = [
        (ends[iteration], value, iteration)
        for row in run.iterations
        if (iteration := number(row, "iteration")) in ends
        and iteration is not None
        and (value := number(row, "kl_initial")) is not None
    ]
    return Curve(
        x=tuple(x for x, _, _ in points),
        y=tuple(y for _, y, _ in points),
        iteration=tuple(iteration for _, _, iteration in points),
    )


def _draw(run: Run, theme: style.Theme) -> Figure:
    needs_steps(run)
    reference, initial = curve(run.steps, "kl"), to_initial(run)
    if not reference.x and not initial.x:
        raise NothingToDraw("no policy step has logged kl, and no evaluation kl_initial")
    figure = style.figure(theme, size=(5.6, 2.8))
    axes = figure.axes[0]
    ends = []
    if reference.x:
        # The reference is the policy at the iteration's start: no mean may reach across.
        last = draw_curve(axes, reference, theme.third, apart=True)
        ends.append(style.EndLabel(reference.x[-1], last, f"to reference {last:#.3g}", theme.third))
    if initial.x:
        last = draw_curve(axes, initial, theme.fourth)
        if len(initial.x) < len(run.steps):
            axes.plot(initial.x, initial.y, "o", color=theme.fourth, markersize=4)
        ends.append(style.EndLabel(initial.x[-1], last, f"to initial {last:#.3g}", theme.fourth))
    axes.set_ylim(bottom=0.0)
    style.title(axes, theme, "KL divergence of the policy", "nats a token")
    step_axis(axes, theme, run.steps)
    style.label_ends(axes, ends)
    return figure


PICTURE = Picture(
    "kl",
    "Distance from where it came",
    "KL divergence to the reference (reset at each iteration, so it starts near zero again) "
    "and to the initial policy, which no reset bounds.",
    _draw,
)
