"""Evaluate the policy on held-out problems: greedy accuracy, by the verifier."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from iterative_grpo import plugins
from iterative_grpo.divergence import kl
from iterative_grpo.types import Sampling
from pipelines import policies, questions, world
from pipelines.artifacts import write_json
from pipelines.config import Config
from pipelines.phases import sample
from pipelines.runs import Job, Phase

if TYPE_CHECKING:
    from pipelines.evaluation import Task


def settings(config: Config) -> Mapping[str, Any]:
    """Return the settings that the figures depend on, and what the tasks were read as."""
    return {
        "fingerprints": {task.name: task.fingerprint for task in tasks(config)},
        "evaluate": config.evaluate.model_dump(mode="json"),
        "max_tokens": config.evaluate.max_tokens or config.max_tokens,
        "prompt": config.policy.prompt,
        "engine": config.engine,
    }


PHASE = Phase("evaluate", settings)

QUESTIONS_SEED = 0
"""Chooses the questions of a limited task: the same in every run, whatever the run's own seed."""

MEASURED = 64
"""Outputs on which the distance to the initial policy is measured."""


def run(job: Job) -> None:
    """Write DATASET.SPLIT.json (figures) and DATASET.SPLIT.answers.jsonl for each task."""
    from pipelines.evaluation import Task, evaluate, figures

    config = job.config
    place = world.current(config.launch.processes)
    model, tokenizer = policies.load(job.inputs["policy"] / "policy", config.policy)
    engine = plugins.find("iterative_grpo.engines", config.engine).load(model, tokenizer)
    for task in tasks(config):
        own = Task(
            task.name,
            tuple(place.share(task.problems)),
            task.fingerprint,
            task.note,
            task.verifier,
            task.prompt,
        )
        stem = task.name.replace("/", ".")
        answers = f"{stem}.answers.jsonl"
        evaluate(
            own,
            engine,
            tokenizer,
            config.evaluate.max_tokens or config.max_tokens,
            job.progress,
            job.output / world.shard(answers, place.rank),
        )
        place.merge(job.output, answers)
        if place.first:
            with (job.output / answers).open(encoding="utf-8") as lines:
                rows = [json.loads(line) for line in lines]
            write_json(job.output / f"{stem}.json", figures(task, rows))
        place.wait()
    if place.first and "initial" in job.inputs:
        write_json(
            job.output / "divergence.json", {"kl_initial": moved(job, engine, model, tokenizer)}
        )
    place.wait()


def tasks(config: Config) -> list[Task]:
    """Return the configured tasks; their rows are read once a process."""
    from pipelines.evaluation import load_task

    return [
        load_task(
            name, config.data.path, config.evaluate.limit, QUESTIONS_SEED, config.policy.prompt
        )
        for name in config.evaluate.tasks
    ]


def moved(job: Job, engine: Any, policy: Any, tokenizer: Any) -> float:
    """Return the policy's KL from the initial one, on fresh outputs for training questions."""
    config = job.config
    initial, _ = policies.load(job.inputs["initial"] / "policy", config.policy)
    problems = questions.training(config).problems
    drawn = questions.draw(problems, min(MEASURED, len(problems)), job.seed)
    rendered = sample.prompts_of(config, drawn, policy, tokenizer)
    groups = engine.generate(
        rendered,
        Sampling(
            group_size=1,
            max_tokens=config.max_tokens,
            stop=sample.stop_of(config),
            seed=job.seed,
        ),
    )
    return kl(policy, initial, rendered, groups)
