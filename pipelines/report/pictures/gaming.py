"""How far the reward model is believed too much, against how far the policy has moved."""

from __future__ import annotations

import itertools
from statistics import fmean
from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.pictures.picture import Curve, NothingToDraw, Picture, needs_steps
from pipelines.report.run import Run, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

QUARTERS = 4


def pairs(run: Run) -> tuple[Curve, Curve]:
    """Return distance and gap over the policy steps that have both."""
    known = [
        (number(row, "global_step") or float(place), number(row, "iteration") or 0.0, moved, gap)
        for place, row in enumerate(run.steps, start=1)
        if (moved := number(row, "kl_initial")) is not None
        and (gap := number(row, "gap")) is not None
    ]
    x = tuple(step for step, _, _, _ in known)
    iteration = tuple(it for _, it, _, _ in known)
    return (
        Curve(x, tuple(moved for _, _, moved, _ in known), iteration),
        Curve(x, tuple(gap for _, _, _, gap in known), iteration),
    )


def stations(moved: Curve, gap: Curve, iteration: float) -> list[tuple[float, float]]:
    """Return the mean distance and gap of each quarter of an iteration's steps, in their order.

    Single steps lie too far apart to be joined: both figures are means over few outputs.
    """
    chosen = [i for i, found in enumerate(gap.iteration) if found == iteration]
    count = min(QUARTERS, len(chosen))
    borders = [len(chosen) * part // count for part in range(count + 1)]
    parts = [chosen[a:b] for a, b in itertools.pairwise(borders)]
    return [(fmean(moved.y[i] for i in part), fmean(gap.y[i] for i in part)) for part in parts]


def _draw(run: Run, theme: style.Theme) -> Figure:
    needs_steps(run)
    moved, gap = pairs(run)
    if not gap.x:
        why = "no policy step has logged both kl_initial and gap"
        if run.setting("reward") == "verifier":
            why = "the policy is rewarded by the verifier: there is no reward model to game"
        raise NothingToDraw(why)
    figure = style.figure(theme)
    axes = figure.axes[0]
    axes.axhline(0.0, color=theme.faint, linewidth=0.9)
    axes.plot(moved.y, gap.y, ".", color=theme.model, alpha=0.25, markersize=4)
    iterations = sorted(set(gap.iteration))
    for iteration in iterations:
        # Each iteration has a reward model of its own, so that no line leads from one to the next.
        path = stations(moved, gap, iteration)
        x, y = [moved for moved, _ in path], [gap for _, gap in path]
        axes.plot(x, y, "o-", color=theme.model, linewidth=1.6, markersize=3)
        axes.plot(x[-1:], y[-1:], "o", color=theme.model, markersize=6)
        if len(iterations) > 1:
            axes.annotate(
                f"{iteration:.0f}", (x[-1], y[-1]), (4, 4), textcoords="offset points",
                fontsize=8, color=theme.ink,
            )  # fmt: skip
    axes.set_xlim(left=0.0)
    axes.set_xlabel(
        "KL from the initial policy, nats a token"
        + ("; numbers: the iterations' ends" if len(iterations) > 1 else ""),
        fontsize=8.5,
        color=theme.faint,
    )
    style.title(
        axes,
        theme,
        "Score minus accuracy, against distance",
        "lines: means of an iteration's quarters; faint: single steps",
    )
    return figure


PICTURE = Picture(
    "gap_by_distance",
    "Does belief outrun truth as the policy moves?",
    "How much the reward model's mean score exceeds the verifier's accuracy on the same rollouts, "
    "against the distance from the initial policy. A line that climbs to the right is reward "
    "hacking; each retrained reward model should begin near zero again.",
    _draw,
)
