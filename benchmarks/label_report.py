"""What `labels.py` reports: the figures of a labeler and seed, and the table over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
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

    `read` of the `asked` prompt tokens were computed; labelling took `seconds` of processor time.
    `policy` is the accuracy of the solutions measured on. `label_auroc` is the labels' own, on the
    steps before the last; `auroc` and `auroc_before` are the reward model's, on all steps and on
    those before the last. `flipped` has by credit rule the share of outputs whose first token's
    advantage turns its sign under another cut, and under "reward" how far rewards at the same ends
    move at most.
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
    flipped: Mapping[str, Mapping[str, float]]

    def as_row(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {**asdict(self), "tokens_per_label": self.cost.tokens_per_label}

    def line(self) -> str:
        """Return what a reader of the terminal wants to know while it goes on."""
        return (
            f"seed {self.seed} {self.labeler}: {self.cost.tokens_per_label:.1f} tokens a label, "
            f"labels {self.label_auroc:.3f}, reward model {self.auroc:.3f}, F1 {self.f1:.3f}, "
            f"{self.seconds:.1f} s"
        )


def table(figures: Sequence[Figures], seconds: float, options: argparse.Namespace) -> str:
    """Return the Markdown: two tables of means with deviations, and the three targets."""
    by_name = {
        name: [it for it in figures if it.labeler == name]
        for name in NAMES
        if name in options.labelers
    }
    naive = [it.cost.tokens_per_label for it in by_name.get("naive", [])]
    columns: list[tuple[str, Callable[[Figures], float], str]] = [
        ("tokens a label", lambda it: it.cost.tokens_per_label, ".1f"),
        ("rollouts a label", lambda it: it.cost.rollouts / max(it.cost.labels, 1), ".2f"),
        ("prompt tokens asked for", lambda it: it.asked, ",.0f"),
        ("computed", lambda it: it.read, ",.0f"),
        ("CPU seconds", lambda it: it.seconds, ".1f"),
        ("AUROC of labels", lambda it: it.label_auroc, ".4f"),
        ("AUROC of the model", lambda it: it.auroc, ".4f"),
        ("before the last step", lambda it: it.auroc_before, ".4f"),
        ("first-error F1", lambda it: it.f1, ".3f"),
    ]
    lines = [
        f"| labels | {' | '.join(name for name, _, _ in columns)} | fewer tokens |",
        "| --- |" + " --- |" * (len(columns) + 1),
    ]
    for name, found in by_name.items():
        cells = [plus_minus([of(it) for it in found], form) for _, of, form in columns]
        ratios = [
            base / it.cost.tokens_per_label
            for base, it in zip(naive, found, strict=False)
            if it.cost.tokens_per_label
        ]
        lines.append(
            f"| {NAMES[name]} | {' | '.join(cells)} | "
            + (f"{plus_minus(ratios, '.1f')}x |" if ratios else "- |")
        )
    if set(NAMES) <= set(by_name):
        lines += ["", *targets(by_name)]
    lines += ["", *notes(figures, seconds, options), "", *cuts(by_name[next(iter(by_name))])]
    return "\n".join(lines)


def cuts(found: Sequence[Figures]) -> list[str]:
    """Return a table of how many advantages turn when the texts are cut differently."""
    names = list(found[0].flipped["reward"])
    lines = [
        f"| {NAMES[found[0].labeler]} | {' | '.join(names)} |",
        "| --- |" + " --- |" * len(names),
    ]
    for what in found[0].flipped:
        form = ".1e" if what == "reward" else ".0%"
        cells = [plus_minus([it.flipped[what][cut] for it in found], form) for cut in names]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return lines


def targets(by_name: Mapping[str, list[Figures]]) -> list[str]:
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
    policy = plus_minus([it.policy for it in figures if it.labeler == figures[0].labeler], ".3f")
    return [
        f"Mean and standard deviation over {len(seeds)} seeds; labels for {options.problems} x "
        f"{options.group} solutions, measured on {options.test} x {options.group} solutions of "
        f"test questions, of which {policy} are right. N = {options.continuations}. F1 at the "
        f"threshold that was best on validation questions. {seconds / 60:.1f} CPU minutes."
    ]


def plus_minus(values: Sequence[float], form: str) -> str:
    """Write a mean and, of several values, their standard deviation."""
    mean = f"{fmean(values):{form}}"
    return f"{mean} ± {stdev(values):{form.removeprefix('+')}}" if len(values) > 1 else mean


def met(reached: bool) -> str:
    """Say whether a target was reached."""
    return "met" if reached else "missed"
