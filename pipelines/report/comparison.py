"""Several runs of several arms in one picture: does the reward model's score stay true?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.intervals import Estimate, mean_over_seeds
from pipelines.report.pictures.picture import Curve, curve, score_curve
from pipelines.report.run import read

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class NothingToCompare(ValueError):
    """An arm without a run that has policy steps."""


@dataclass(frozen=True, slots=True)
class Band:
    """A measure over policy steps: at `x[i]` the mean over runs with its 95% interval."""

    x: tuple[float, ...]
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class _Arm:
    name: str
    runs: int
    model: Band
    truth: Band


def compare_runs(runs: Mapping[str, Sequence[Path]], output: Path) -> Path:
    """Draw the arms side by side; see `pipelines.report.compare_runs`."""
    from pipelines.report.writing import replace

    arms = [_arm(name, folders) for name, folders in runs.items()]
    if not arms:
        raise NothingToCompare("no arm was given")
    theme = style.LIGHT
    figure = style.figure(theme, panels=len(arms), size=(1.4 + 3.7 * len(arms), 3.8))
    for axes, arm in zip(figure.axes, arms, strict=True):
        _panel(axes, theme, arm)
    for axes, arm in zip(figure.axes, arms, strict=True):
        _labels(axes, theme, arm)
    replace(output, style.png(figure, theme))
    return output


def band(curves: Sequence[Curve]) -> Band:
    """Return the mean of running means at every policy step that at least one run has made.

    Each run is smoothed by itself first: the interval is that of runs, not of steps.
    """
    values: dict[float, list[float]] = {}
    for found in curves:
        for x, y in zip(found.x, found.means(), strict=True):
            values.setdefault(x, []).append(y)
    made = tuple(sorted(values))
    return Band(made, tuple(mean_over_seeds(values[step]) for step in made))


def _arm(name: str, folders: Sequence[Path]) -> _Arm:
    found = [read(folder).steps for folder in folders]
    model = [score_curve(steps) for steps in found]
    truth = [curve(steps, "verifier_accuracy") for steps in found]
    if not any(it.x for it in model) or not any(it.x for it in truth):
        raise NothingToCompare(
            f"{name}: none of its {len(folders)} runs has policy steps with both reward/model "
            "and verifier_accuracy; run them first, with reward: model"
        )
    return _Arm(name, len(folders), band(model), band(truth))


def _panel(axes: Axes, theme: style.Theme, arm: _Arm) -> None:
    from matplotlib.ticker import MaxNLocator

    for values, colour in ((arm.truth, theme.truth), (arm.model, theme.model)):
        middle = [it.value for it in values.estimates]
        low = [it.value if math.isnan(it.low) else it.low for it in values.estimates]
        high = [it.value if math.isnan(it.high) else it.high for it in values.estimates]
        axes.fill_between(values.x, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(values.x, middle, color=colour, linewidth=2.2)
    axes.set_xlim(arm.truth.x[0], max(arm.truth.x[-1], arm.truth.x[0] + 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("policy step", fontsize=9, color=theme.faint)
    runs = f"{arm.runs} runs: mean, 95% interval" if arm.runs > 1 else "one run"
    style.title(axes, theme, arm.name, runs)


def _labels(axes: Axes, theme: style.Theme, arm: _Arm) -> None:
    believed, true = arm.model.estimates[-1].value, arm.truth.estimates[-1].value
    style.label_ends(
        axes,
        [
            style.EndLabel(
                arm.model.x[-1], believed, f"reward\nmodel's\nscore {believed:.2f}", theme.model
            ),
            style.EndLabel(arm.truth.x[-1], true, f"true\naccuracy\n{true:.2f}", theme.truth),
        ],
        lines=3,
    )
