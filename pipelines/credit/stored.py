"""Reads the rollouts of an iteration back into the groups that they were credited in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iterative_grpo.rollouts import Rollout
from pipelines import json_lines, places


class CannotCompare(ValueError):
    """A run without rollouts that credit rules could be applied to; the message says why."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The groups of outputs that were credited together, at one policy step."""

    step: int
    groups: tuple[tuple[Rollout, ...], ...]


def file_of(run: Path, iteration: int | None) -> tuple[int, Path]:
    """Return an iteration and its rollouts file, the last one's where none is named.

    Raises:
        CannotCompare: there is none.
    """
    known = places.with_rollouts(run)
    if not known:
        raise CannotCompare(
            f"{run} has no rollouts: no iteration has finished its policy phase; expected "
            "iterations/NN/optimize/rollouts.jsonl, which `iterative-grpo run` writes"
        )
    chosen = known[-1] if iteration is None else iteration
    if chosen not in known:
        raise CannotCompare(
            f"{run} has no rollouts of iteration {chosen}; it has those of "
            f"{', '.join(str(number) for number in known)}"
        )
    return chosen, places.rollouts(run, chosen)


def read(file: Path) -> list[Generation]:
    """Return the generations of a rollouts file, in the order of their policy steps.

    Raises:
        CannotCompare: the file is empty, or a line is no rollout.
    """
    groups: dict[tuple[int, str], list[list[Rollout]]] = {}
    for step, rollout in _rollouts(file):
        # A group may be spread over the shards of several processes, and a question may be drawn
        # twice in one step: a sample number that a group has already belongs to another group.
        drawn = groups.setdefault((step, rollout.problem_id), [])
        for group in drawn:
            if all(other.sample != rollout.sample for other in group):
                group.append(rollout)
                break
        else:
            drawn.append([rollout])
    steps: dict[int, list[tuple[Rollout, ...]]] = {}
    for (step, _), drawn in groups.items():
        steps.setdefault(step, []).extend(tuple(group) for group in drawn)
    if not steps:
        raise CannotCompare(f"{file} is empty: the policy phase sampled nothing")
    return [Generation(step, tuple(found)) for step, found in sorted(steps.items())]


def _rollouts(file: Path) -> Iterator[tuple[int, Rollout]]:
    """Yield (policy step, rollout), and name the line that is none."""
    for place, row in json_lines.objects(file, CannotCompare, "Compare another iteration"):
        try:
            rollout = Rollout.from_row(row)
            step = int(row["step"])
        except KeyError as missing:
            raise CannotCompare(f"{place}: no {missing} in it") from missing
        except (AttributeError, TypeError, ValueError) as error:
            raise CannotCompare(f"{place}: no rollout: {error}") from error
        if len(rollout.advantages) != len(rollout.rewards.ends):
            raise CannotCompare(
                f"{place}: {len(rollout.advantages)} advantages for "
                f"{len(rollout.rewards.ends)} step ends; a step has one of each"
            )
        yield step, rollout
