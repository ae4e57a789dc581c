"""Applies every credit rule to the same stored rewards, under the run's own normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iterative_grpo import plugins
from iterative_grpo.credit import credit
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import CreditRule
from iterative_grpo.rollouts import Rollout
from pipelines import building, keywords
from pipelines.credit import stored
from pipelines.credit.stored import CannotCompare, Generation
from pipelines.report.run import Run

Advantages = list[list[list[float]]]
"""Of the steps of each output of each group."""

RULES = "iterative_grpo.advantages"
TOLERANCE = 1e-6
"""By how much an advantage may differ from the stored one, as a share of the largest one."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A rollout with the step advantages that each rule gives it, (S,) by the rule's name."""

    step: int
    rollout: Rollout
    advantages: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All solutions of an iteration; `trained_with` is the rule of the run, if it is known."""

    iteration: int
    rules: tuple[str, ...]
    trained_with: str | None
    solutions: tuple[Solution, ...]
    notes: tuple[str, ...]


def compare(run: Run, iteration: int | None = None, limit: int = 0) -> Comparison:
    """Return what every rule makes of an iteration's rollouts.

    Raises:
        CannotCompare: the run has no such rollouts, or its settings are none; `limit`, the number
            of solutions to be shown, is below 0.
    """
    if limit < 0:
        raise CannotCompare(f"the number of solutions to show is {limit}; expected 0 or more")
    chosen, file = stored.file_of(run.path, iteration)
    generations = stored.read(file)
    trained_with = str(run.setting("credit", "")).replace("-", "_")
    rules, unusable = _rules(trained_with, run.setting("credit_options", {}))
    by_rule, broken = _by_rule(rules, generations, normalizer(run))
    solutions = tuple(
        solution
        for number, generation in enumerate(generations)
        for solution in credited(generation, {name: its[number] for name, its in by_rule.items()})
    )
    known = trained_with if trained_with in by_rule else None
    remarks = (*_remarks(solutions, known), *_odd_groups(run, generations))
    notes = (*run.notes, *(f"left out: {it}" for it in (*unusable, *broken)), *remarks)
    return Comparison(chosen, tuple(by_rule), known, solutions, notes)


def _by_rule(
    rules: Mapping[str, CreditRule], generations: Sequence[Generation], normalize: Normalizer
) -> tuple[dict[str, list[Advantages]], list[plugins.BrokenPlugin]]:
    """Return each rule's advantages of each generation, and why a rule gives none.

    The groups of a generation are credited together, as in training.
    """
    rewards = [
        [[list(rollout.rewards.values) for rollout in group] for group in generation.groups]
        for generation in generations
    ]
    found, broken = {}, []
    for name, rule in rules.items():
        try:
            with plugins.working("credit rule", name):
                found[name] = [credit(rule, its, normalize) for its in rewards]
        except plugins.BrokenPlugin as error:
            broken.append(error)
    return found, broken


def credited(generation: Generation, by_rule: Mapping[str, Advantages]) -> list[Solution]:
    """Return a generation's solutions with what each rule gave them."""
    return [
        Solution(
            generation.step,
            rollout,
            {name: tuple(advantages[p][g]) for name, advantages in by_rule.items()},
        )
        for p, group in enumerate(generation.groups)
        for g, rollout in enumerate(group)
    ]


def normalizer(run: Run) -> Normalizer:
    """Return the normalisation of the run's policy phase."""
    scale = run.setting("optimize.scale", "group")
    floor = run.setting("optimize.std_floor", 0.0)
    if scale not in ("group", "batch", "none"):
        raise CannotCompare(
            f"config.yaml has optimize.scale {scale!r}; expected group, batch or none"
        )
    if isinstance(floor, bool) or not isinstance(floor, int | float):
        raise CannotCompare(f"config.yaml has optimize.std_floor {floor!r}; expected a number")
    return Normalizer(scale=scale, std_floor=float(floor))


def _rules(
    trained_with: str, options: Mapping[str, Any]
) -> tuple[dict[str, CreditRule], list[ValueError]]:
    """Return every rule, the run's with its options, and why others cannot be made."""
    rules: dict[str, CreditRule] = {}
    unusable: list[ValueError] = []
    for name in plugins.names(RULES):
        try:
            rules[name] = building.rule(name, options if name == trained_with else {})
        except (plugins.BrokenPlugin, keywords.UnknownField, keywords.UnfitValue) as error:
            unusable.append(error)
    return rules, unusable


def _remarks(solutions: Sequence[Solution], trained_with: str | None) -> list[str]:
    """Return what a reader must know before trusting the comparison."""
    remarks = []
    if all(len(solution.rollout.rewards.ends) == 1 for solution in solutions):
        remarks.append(
            "every solution is one step, as under supervision=outcome: there all rules are the same"
        )
    if trained_with is not None:
        pairs = [
            (ours, theirs)
            for solution in solutions
            for ours, theirs in zip(
                solution.advantages[trained_with], solution.rollout.advantages, strict=True
            )
        ]
        largest = max(1.0, *(abs(theirs) for _, theirs in pairs))
        apart = max(abs(ours - theirs) for ours, theirs in pairs)
        if apart > TOLERANCE * largest:
            remarks.append(
                f"{trained_with} gives other advantages than those stored, by up to {apart:.3g}: "
                "the rule, the settings or the rollouts have changed since"
            )
    return remarks


def _odd_groups(run: Run, generations: Sequence[Generation]) -> list[str]:
    size = run.setting("optimize.group_size")
    odd = sum(len(group) != size for generation in generations for group in generation.groups)
    if not isinstance(size, int) or not odd:
        return []
    return [f"{odd} groups have another number of outputs than optimize.group_size {size}"]
