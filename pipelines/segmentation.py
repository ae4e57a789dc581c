"""Before the policy learns from step rewards: do they depend on where its texts are cut?

A reward that moves with the cut at ends that both cuts have judges the layout: the policy would
learn to write the layout that scores well. The check runs the reward model on stored samples and is
cheap beside a single policy step.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, replace

from iterative_grpo import completions
from pipelines import building
from pipelines.artifacts import write_json
from pipelines.config import Segmentation
from pipelines.phases import sample
from pipelines.runs import Job
from pipelines.world import World
from reward_models.protocols import Parts
from reward_models.segmentation import Shift, measure
from reward_models.sources import model

WAYS = {
    "merged": "when every second end is dropped",
    "split": "when each step is cut in two",
    "whole": "when the text is one step",
}


class MovesWithTheCut(RuntimeError):
    """A reward model whose scores depend on how the text is cut into steps."""


def check(job: Job, parts: Parts, place: World) -> None:
    """Write segmentation.json; raise MovesWithTheCut if rewards move further than is allowed.

    Nothing is done under outcome supervision, or without a reward model.
    """
    wanted = job.config.segmentation.outputs
    if not (wanted and building.cuts_steps(job.config) and "samples" in job.inputs):
        return
    shifts = shifts_of(job, parts)
    if place.first:
        write_json(job.output / "segmentation.json", {shift.cut: as_row(shift) for shift in shifts})
    refuse(shifts, job.config.segmentation)


def shifts_of(job: Job, parts: Parts) -> list[Shift]:
    """Measure on the first stored samples, whole groups of them."""
    config = job.config
    problems = {problem.id: problem for problem in sample.questions_of(job)}
    size = config.sample.group_size
    count = max(1, config.segmentation.outputs // size) * size
    rows = list(itertools.islice(completions.read(job.inputs["samples"] / "samples.jsonl"), count))
    asked = [problems[row.problem_id] for row in rows]
    return measure(
        lambda splitter: model.build(replace(parts, splitter=splitter)).score(asked, rows),
        parts.splitter,
        [row.text for row in rows],
        [row.problem_id for row in rows],
        building.credit_rule(config),
        building.normalizer(config),
    )


def as_row(shift: Shift) -> dict[str, float]:
    """Return the figures, in as many digits as the sums of another batching agree on."""
    figures = asdict(shift)
    del figures["cut"]
    return {name: round(value, 5) for name, value in figures.items()}


def refuse(shifts: list[Shift], limits: Segmentation) -> None:
    """Raise MovesWithTheCut, naming the worst cut, if rewards or advantages move too far."""
    worst = max(shifts, key=lambda shift: shift.reward_mean)
    if worst.reward_mean > limits.reward_limit:
        raise MovesWithTheCut(
            f"the reward model's scores at the same ends move by {worst.reward_mean:.3f} on "
            f"average {WAYS[worst.cut]} (segmentation.reward_limit is {limits.reward_limit}): a "
            "policy would learn the layout that it likes, not the solution. Take a reward model "
            "that is read at marked ends (any that this program trains), give it the splitter that "
            "it was trained with, or take supervision=outcome; a higher limit lets it pass"
        )
    worst = max(shifts, key=lambda shift: shift.flipped)
    if worst.flipped > limits.flip_limit:
        raise MovesWithTheCut(
            f"the first token's advantage turns its sign in {worst.flipped:.0%} of the outputs "
            f"{WAYS[worst.cut]} (segmentation.flip_limit is {limits.flip_limit}): what is learned "
            "depends on the number of steps more than on the rewards. Take another credit rule "
            "(credit=min moves least), train the reward model on more labels, or take "
            "supervision=outcome; a higher limit lets it pass"
        )
