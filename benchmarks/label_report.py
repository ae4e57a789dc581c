"""What `labels.py` reports: the figures of a labeler and seed, and the table over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from reward_models.types import LabelCost

NAMES = {
    "exact": "exact step check",
    "naive": "Math-Shepherd, naive",
    "shared": "+ shared rollouts",
    "default": "+ early stop (the default)",
    "first_error": "first error by halving",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """One labeler on one seed.

    `read` of the `asked` prompt tokens were computed; `policy` is the accuracy of the solutions
    measured on. `label_auroc` is the labels' own, on the steps before the last; `auroc` and
    `auroc_before` are the reward model's, on all steps and on those before the last.
    """

    labeler: str
    seed: int
    cost: LabelCost
    read: int
    asked: int
    seconds: float
    policy: float
    label_auroc: float
    auroc: float
    auroc_before: float
    f1: float
    accuracy_wrong: float
    accuracy_right: float
    threshold: float

    def as_row(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {**asdict(self), "tokens_per_label": self.cost.tokens_per_label}

    def line(self) -> str:
        """Return what a reader of the terminal wants to know while it goes on."""
        return (
            f"seed {self.seed} {self.labeler}: {self.cost.tokens_per_label:.1f} tokens a label, "
            f"labels {self.label_auroc:.3f}, reward model {self.auroc:.3f}, F1 {self.f1:.3f}, "
            f"{self.seconds:.0f} s"
        )


def table(figures: Sequence[Figures], seconds: float, options: argparse.Namespace) -> str:
    """Return the Markdown: a table of means with deviations, and the three targets."""
    by_name = {name: [it for it in figures if it.labeler == name] for name in NAMES}
    naive = [it.cost.tokens_per_label for it in by_name["naive"]]
    columns: list[tuple[str, Callable[[Figures], float], str]] = [
        ("tokens a label", lambda it: it.cost.tokens_per_label, ".1f"),
        ("rollouts a label", lambda it: it.cost.rollouts / max(it.cost.labels, 1), ".2f"),
        ("AUROC of labels", lambda it: it.label_auroc, ".4f"),
        ("AUROC of the model", lambda it: it.auroc, ".4f"),
        ("before the last step", lambda it: it.auroc_before, ".4f"),
        ("first-error F1", lambda it: it.f1, ".3f"),
    ]
    lines = [
        f"| labels | {' | '.join(name for name, _, _ in columns)} | fewer tokens |",
        "| --- |" + " --- |" * (len(columns) + 1),
    ]
    for name, title in NAMES.items():
        found = by_name[name]
        cells = [plus_minus([of(it) for it in found], form) for _, of, form in columns]
        ratios = [
            base / it.cost.tokens_per_label
            for base, it in zip(naive, found, strict=True)
            if it.cost.tokens_per_label
        ]
        lines.append(
            f"| {title} | {' | '.join(cells)} | "
            + (f"{plus_minus(ratios, '.1f')}x |" if ratios else "- |")
        )
    return "\n".join([*lines, "", *targets(by_name), "", *notes(figures, seconds, options)])


def targets(by_name: dict[str, list[Figures]]) -> list[str]:
    """Say what was aimed at, and what was reached."""
    exact = [it.auroc for it in by_name["exact"]]
    pairs = list(zip(by_name["naive"], by_name["default"], strict=True))
    ratios = [a.cost.tokens_per_label / c.cost.tokens_per_label for a, c in pairs]
    gaps = [c.auroc - a.auroc for a, c in pairs]
    return [
        f"- AUROC of the model trained on exact labels: {plus_minus(exact, '.4f')} "
        f"(target 0.90: {met(fmean(exact) >= 0.9)})",
        f"- default against naive: {plus_minus(ratios, '.1f')}x fewer tokens a label "
        f"(target 5x: {met(min(ratios) >= 5)})",
        f"- AUROC of the models, default minus naive: {plus_minus(gaps, '+.4f')} "
        f"(target within 0.01: {met(abs(fmean(gaps)) <= 0.01)})",
    ]


def notes(figures: Sequence[Figures], seconds: float, options: argparse.Namespace) -> list[str]:
    """Say what the figures stand on."""
    seeds = sorted({it.seed for it in figures})
    naive = [it for it in figures if it.labeler == "naive"]
    read = fmean(it.read / it.asked for it in naive)
    policy = plus_minus([it.policy for it in naive], ".3f")
    labels = fmean(it.cost.labels for it in naive)
    return [
        f"Mean and standard deviation over {len(seeds)} seeds; {options.problems} x "
        f"{options.group} solutions with {labels:,.0f} labels before the last step, measured on "
        f"{options.test} x {options.group} solutions of test questions, of which {policy} are "
        f"right. N = {options.continuations}. F1 at the threshold that was best on validation "
        f"questions. Of the prompts' tokens {read:.0%} are computed when all prefixes are "
        f"continued at once, the rest is read off longer prefixes. {seconds / 60:.1f} min.",
    ]


def plus_minus(values: Sequence[float], form: str) -> str:
    """Write a mean and, of several values, their standard deviation."""
    mean = f"{fmean(values):{form}}"
    return f"{mean} ± {stdev(values):{form.removeprefix('+')}}" if len(values) > 1 else mean


def met(reached: bool) -> str:
    """Say whether a target was reached."""
    return "met" if reached else "missed"
