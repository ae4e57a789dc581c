"""Label the samples: the whole text by its verdict, prefixes as configured (§4.1.3).

`supervision` is read in the choice of the splitter alone (`pipelines/building.py`): under
outcome supervision the only end is the text's, and every labeler gives it the verdict.

Questions are labeled in chunks that are kept as they come (`pipelines/journal.py`). A chunk's
labels depend on its rows and the phase's seed alone, so that a phase that was cut off ends as an
unbroken one does on such a machine.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from iterative_grpo import completions, plugins, timing
from iterative_grpo.types import Sampling
from pipelines import building, dividing, plugin_options, policies, questions, verifying, world
from pipelines.artifacts import WORK, read_manifest, write_json
from pipelines.config import Config
from pipelines.journal import Journal
from pipelines.phases import sample
from pipelines.runs import Job, Phase
from reward_models.history import write_labels
from reward_models.protocols import Continuing, Tools
from reward_models.types import LabelCost, LabeledSolution, read_solutions, write_solutions

GROUPS_AT_ONCE, ON_A_GPU = 32, 128
"""Questions of a chunk: enough to keep an engine busy, few enough to lose when a phase is killed.

Rollouts are shared within a question, so that the tokens of labels do not depend on it. A round
continues few prefixes of each, some four rows a question, and a GPU takes hundreds at once.
"""


class OddLabels(ValueError):
    """A labeler that does not return one labeled solution a completion, in their order."""


def settings(config: Config) -> Mapping[str, Any]:
    """Return the settings that the labels depend on."""
    return {
        "label": config.label.model_dump(mode="json", exclude={"labeler_options"}),
        "labeler_options": plugin_options.recorded(config.label.labeler_options),
        "splitter_options": plugin_options.recorded(config.splitter_options),
        "supervision": config.supervision,
        "splitter": config.splitter,
        "held_out": config.reward_model.held_out,
        "validation": config.reward_model.validation,
        "verifier": questions.convention(config),
        **(policies.precision(config) if building.continues_prefixes(config) else {}),
    }


PHASE = Phase("label", settings, resumable=True)


def run(job: Job) -> None:
    """Write labels.jsonl (to learn from), validation.jsonl (to tune on), heldout.jsonl."""
    config = job.config
    place = world.current(config.launch.processes)
    problems = {p.id: p for p in sample.questions_of(job)}
    # The samples are of these questions in this order. They are read a chunk at a time: token ids
    # take ten times the room of the text.
    mine = dict.fromkeys(place.share(list(problems)))
    samples = completions.read(job.inputs["samples"] / "samples.jsonl")
    own = (c for c in samples if c.problem_id in mine)
    splitter = building.splitter(config)
    journal = Journal(job.output / WORK / world.shard("journal.jsonl", place.rank))
    groups_at_once = GROUPS_AT_ONCE if policies.device() == "cpu" else ON_A_GPU
    at_once = groups_at_once * config.sample.group_size
    with (
        tools(job, [problems[i] for i in mine]) as made_of,
        job.progress.bar("label", len(mine) * config.sample.group_size, "solutions") as bar,
    ):
        with plugins.working("labeler", config.label.labeler):
            labeler = building.labeler(config)(made_of)
        bar.advance(len(journal.rows))
        right = sum(row.correct for row in journal.rows)
        left = itertools.islice(own, len(journal.rows), None)
        while batch := list(itertools.islice(left, at_once)):
            with timing.part("label", tokens=sum(len(c.token_ids) for c in batch)):
                rows, cost = labeler.label(
                    [problems[c.problem_id] for c in batch],
                    batch,
                    [splitter.split(c.text) for c in batch],
                )
            if [row.problem_id for row in rows] != [c.problem_id for c in batch]:
                raise OddLabels(
                    f"labeler {config.label.labeler} was given {len(batch)} completions and "
                    f"returned {len(rows)} solutions, or others; it labels each, in their order"
                )
            journal.append(rows, cost)
            right += sum(row.correct for row in rows)
            bar.advance(len(batch), f"{right / len(journal.rows):.0%} right")
    rows, cost = journal.rows, journal.cost
    if place.size > 1:
        rows, cost = of_all(job, place, rows, cost)
    if place.first:
        divide(job, rows, cost)
    place.wait()


def of_all(
    job: Job, place: world.World, rows: list[LabeledSolution], cost: LabelCost
) -> tuple[list[LabeledSolution], LabelCost]:
    """Return the rows of all processes and their cost, in the first process; none in others."""
    write_solutions(job.output / world.shard("all.jsonl", place.rank), rows)
    (job.output / world.shard("cost.jsonl", place.rank)).write_text(
        json.dumps(asdict(cost)) + "\n", encoding="ascii"
    )
    place.merge(job.output, "all.jsonl")
    place.merge(job.output, "cost.jsonl")
    if not place.first:
        return [], LabelCost()
    merged = job.output / "all.jsonl"
    found = list(read_solutions(merged))
    merged.unlink()
    return found, total_cost(job)


def total_cost(job: Job) -> LabelCost:
    """Add up what the labels of all processes cost."""
    merged = job.output / "cost.jsonl"
    parts = [LabelCost(**json.loads(line)) for line in merged.read_text("ascii").splitlines()]
    merged.unlink()
    return sum(parts, LabelCost())


def divide(job: Job, labeled: Sequence[LabeledSolution], cost: LabelCost) -> None:
    """Part the labeled solutions by question; refuse any that asks an evaluation question."""
    rows = list(dividing.forbidden(job.config).checked(labeled))
    parts = dividing.division(job.config).divide(rows)
    for part, own in parts.items():
        write_labels(job.output / f"{part.value}.jsonl", own)
    write_json(
        job.output / "summary.json",
        {
            "solutions": len(rows),
            **{f"{part.value}_rows": len(own) for part, own in parts.items()},
            "correct": sum(row.correct for row in rows) / max(len(rows), 1),
            "ends": sum(len(row.ends) for row in rows),
            **asdict(cost),
            "tokens_per_label": cost.tokens_per_label,
        },
    )


@contextmanager
def tools(job: Job, problems: list[Any]) -> Iterator[Tools]:
    """Yield what labelers are made of; the policy is loaded only for one that continues."""
    config = job.config
    made_of = Tools(
        verify=verifying.verifier(config),
        iteration=job.iteration,
        check_steps=verifying.step_check(config),
    )
    if not building.continues_prefixes(config):
        yield made_of
        return
    policy = job.inputs["policy"]
    with policies.sampled_in(config, policy / "policy") as sampler:
        rendered = sample.prompts_of(config, problems, sampler.tokenizer, sampler.context)
        continuing = Continuing(
            engine=sampler.engine,
            prompts={prompt.problem_id: prompt for prompt in rendered},
            sampling=Sampling(
                group_size=config.label.continuations,
                max_tokens=config.max_tokens,
                temperature=config.sample.temperature,
                stop=sample.stop_of(config),
                seed=job.seed,
            ),
            tokenizer=sampler.tokenizer,
        )
        completer = read_manifest(policy)["fingerprint"]
        yield replace(made_of, completer=completer, continuing=continuing)
