"""Several arms in one picture: what each made of the outputs that it sampled."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.report import style
from pipelines.report.comparison import Band, NothingToCompare
from pipelines.report.intervals import mean_over_seeds
from pipelines.report.run import Run, accuracy, number, read, section


def compare_accuracy(runs: Mapping[str, Sequence[Path]], output: Path) -> Path:
    """Draw held-out accuracy over sampled outputs; see `pipelines.report.compare_accuracy`."""
    from pipelines.report.writing import replace

    if not runs:
        raise NothingToCompare("no arm was given")
    theme = style.LIGHT
    figure = style.figure(theme, size=(7.6, 4.2))
    axes = figure.axes[0]
    ends = []
    for place, (name, folders) in enumerate(runs.items()):
        found = accuracy_by_samples([read(folder) for folder in folders])
        if not found.x:
            raise NothingToCompare(f"{name}: none of its {len(folders)} runs has been evaluated")
        colour = theme.cycle[place % len(theme.cycle)]
        y = [it.value for it in found.estimates]
        bars = [0.0 if math.isnan(it.half_width) else it.half_width for it in found.estimates]
        # Arms stand a little apart, so that their intervals do not cover each other.
        x = [at + found.x[-1] * 0.006 * (place - (len(runs) - 1) / 2) for at in found.x]
        axes.errorbar(x, y, yerr=bars, fmt="none", ecolor=colour, alpha=0.4, lw=1.5)
        axes.plot(x, y, "o-", color=colour, linewidth=1.9, markersize=4)
        ends.append(style.EndLabel(x[-1], y[-1], f"{name} {y[-1]:.2f}", colour))
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("outputs sampled so far", fontsize=9, color=theme.faint)
    style.percent(axes)
    most = max(len(folders) for folders in runs.values())
    below = f"greedy; mean of {most} runs, 95% t-intervals" if most > 1 else "greedy; one run"
    style.title(axes, theme, "Held-out accuracy", below)
    style.label_ends(axes, ends)
    replace(output, style.png(figure, theme))
    return output


def accuracy_by_samples(runs: Sequence[Run]) -> Band:
    """Return the last task's accuracy over the outputs sampled for policy and reward model.

    A point is an iteration of all runs; where the watch has ended phases of some of them early, it
    stands at the mean of what they have sampled.
    """
    sampled: dict[int, list[int]] = defaultdict(list)
    values: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        task = run.tasks()[-1] if run.tasks() else ""
        for row in run.iterations:
            if (found := accuracy(row, task)) is not None:
                iteration = int(number(row, "iteration") or 0)
                sampled[iteration].append(samples_until(run, iteration))
                values[iteration].append(found.value)
    made = sorted(values)
    return Band(
        tuple(statistics.fmean(sampled[iteration]) for iteration in made),
        tuple(mean_over_seeds(values[iteration]) for iteration in made),
    )


def samples_until(run: Run, iteration: int) -> int:
    """Return how many outputs a run has sampled at the end of an iteration.

    For the policy as many as its logged steps took: the watch may end a phase early. For the reward
    model as many as were labeled: there may be fewer questions than a phase would draw.
    Continuations that label steps are not counted.
    """

    def of(key: str) -> int:
        return int(run.setting(key) or 0)

    logged = Counter(int(number(row, "iteration") or 0) for row in run.steps)
    updates = of("optimize.updates") or 1
    explorations = sum(-(-logged[each] // updates) for each in range(1, iteration + 1))
    policy = explorations * of("optimize.prompts") * of("optimize.group_size")
    labeled = [
        number(section(row, "labels"), "solutions") or 0
        for row in run.iterations
        if (number(row, "iteration") or 0) <= iteration
    ]
    return policy + int(sum(labeled))
