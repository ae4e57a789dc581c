"""What several arms of the main job came to: tables of means over seeds, for `iterative.py`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.report.intervals import Estimate, mean_over_seeds
from pipelines.report.run import Run, accuracy, number, section
from pipelines.report.table import gap


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run: accuracies of the task, score minus truth at the end, minutes.

    `mean` is the accuracy's mean over all iterations after the start: where a run was, not only
    where it ended.
    """

    seed: int
    start: float
    best: float
    mean: float
    final: float
    gap: float
    minutes: float


@dataclass(frozen=True, slots=True)
class Judge:
    """The reward model in the last iterations of one run; None where a run does not have it.

    `fresh` is the AUROC on held-out samples of the policy that it judges next, `stale` that of
    the reward model before it on the same samples, `old` its own on samples of earlier policies.
    """

    seed: int
    stale: float | None
    fresh: float | None
    pairs: float | None
    old: float | None


LAST_ITERATIONS = 3
"""A reward model's figures are means over so many last iterations: single ones are noisy."""


def outcome(run: Run) -> Outcome:
    """Return what came of a run.

    The task is the last one evaluated whose name does not end in /validation. The best iteration
    is chosen by a validation task if there is one, else by the task itself, which flatters it.
    """
    tasks = run.tasks()
    judged = [task for task in tasks if not task.endswith("/validation")] or tasks
    chosen_by = [task for task in tasks if task.endswith("/validation")] or judged
    shares = _accuracies(run, judged[-1])
    choosing = _accuracies(run, chosen_by[-1])
    seconds = [value for row in run.iterations for value in row.get("seconds", {}).values()]
    last = max(shares)
    return Outcome(
        seed=_seed(run),
        start=shares[0],
        best=shares[max(choosing, key=lambda iteration: (choosing[iteration], -iteration))],
        mean=statistics.fmean(share for iteration, share in shares.items() if iteration > 0),
        final=shares[last],
        gap=gap(run, last) or 0.0,
        minutes=sum(seconds) / 60,
    )


def judge(run: Run) -> Judge:
    """Return how well a run's reward models judged, late in the run."""
    rows = [section(row, "reward_model") for row in run.iterations if "reward_model" in row]

    def mean(key: str) -> float | None:
        found = [value for row in rows if (value := number(row, key)) is not None]
        return statistics.fmean(found[-LAST_ITERATIONS:]) if found else None

    return Judge(
        seed=_seed(run),
        stale=mean("auroc_before"),
        fresh=mean("auroc"),
        pairs=mean("pair_accuracy"),
        old=mean("auroc_frozen"),
    )


def tables(runs: Mapping[str, Sequence[Run]]) -> str:
    """Return Markdown: accuracy, judges, and paired differences; means with 95% t-intervals."""
    outcomes = {arm: [outcome(run) for run in found] for arm, found in runs.items()}
    judges = {arm: [judge(run) for run in found] for arm, found in runs.items()}
    accuracies = _table(
        outcomes,
        {
            "start": lambda it: it.start,
            "best": lambda it: it.best,
            "mean of iterations": lambda it: it.mean,
            "final": lambda it: it.final,
            "score - truth at the end": lambda it: it.gap,
            "minutes": lambda it: it.minutes,
        },
        forms={"score - truth at the end": "+.3f", "minutes": ".1f"},
    )
    judged = _table(
        judges,
        {
            "AUROC, fresh samples, model before": lambda it: it.stale,
            "AUROC, fresh samples": lambda it: it.fresh,
            "pairs of one question": lambda it: it.pairs,
            "AUROC, samples of earlier iterations": lambda it: it.old,
        },
        forms={},
    )
    return "\n\n".join([accuracies, judged, "\n".join(differences(outcomes))]) + "\n"


def differences(outcomes: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """Return a sentence for each pair of arms: their difference, paired by seed."""
    lines = []
    names = list(outcomes)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            for what, value in (("Final", _final), ("Mean", _mean)):
                first = {it.seed: value(it) for it in outcomes[one]}
                pairs = [value(it) - first[it.seed] for it in outcomes[other] if it.seed in first]
                if pairs:
                    lines.append(
                        f"- {what} accuracy, {other} minus {one}, paired by seed: "
                        f"{plus_minus(mean_over_seeds(pairs), '+.3f')}."
                    )
    return lines


def plus_minus(found: Estimate, form: str) -> str:
    """Write a mean and half its interval's width, which a single run does not have."""
    mean = f"{found.value:{form}}"
    if math.isnan(found.half_width):
        return mean
    return f"{mean} ± {found.half_width:{form.removeprefix('+')}}"


def _table(
    arms: Mapping[str, Sequence[Any]],
    columns: Mapping[str, Callable[[Any], float | None]],
    forms: Mapping[str, str],
) -> str:
    lines = [
        f"| arm | seeds | {' | '.join(columns)} |",
        f"|{' --- |' * (len(columns) + 2)}",
    ]
    for arm, found in arms.items():
        cells = []
        for name, value_of in columns.items():
            values = [value for it in found if (value := value_of(it)) is not None]
            form = forms.get(name, ".3f")
            cells.append(plus_minus(mean_over_seeds(values), form) if values else "")
        lines.append(f"| {arm} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _accuracies(run: Run, task: str) -> dict[int, float]:
    return {
        int(number(row, "iteration") or 0): found.value
        for row in run.iterations
        if (found := accuracy(row, task)) is not None
    }


def _final(found: Outcome) -> float:
    return found.final


def _mean(found: Outcome) -> float:
    return found.mean


def _seed(run: Run) -> int:
    return int(run.setting("seed", 0))
