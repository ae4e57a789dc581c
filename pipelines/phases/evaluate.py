"""Evaluate the policy on held-out problems, greedy and by samples: accuracy by the verifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from iterative_grpo.divergence import kl
from iterative_grpo.engines import sampled_groups
from iterative_grpo.types import Completion, Prompt, Sampling
from pipelines import policies, questions, world
from pipelines.artifacts import write_json
from pipelines.config import Config
from pipelines.phases import sample
from pipelines.policies import Sampler
from pipelines.runs import Job, Phase

if TYPE_CHECKING:
    from pipelines.evaluation.rendering import Rendered
    from pipelines.evaluation.tasks import Task


def settings(config: Config) -> Mapping[str, Any]:
    """Return the settings that the figures depend on, and what tasks and judge were read as."""
    judge = config.evaluate.reward_model
    return {
        "fingerprints": {task.name: task.fingerprint for task in tasks(config)},
        "evaluate": config.evaluate.model_dump(mode="json", exclude={"reward_model"}),
        "reward_model": None if judge is None else policies.identity(judge),
        "max_tokens": config.evaluate.max_tokens or config.max_tokens,
        "prompt": config.policy.prompt,
        "verifier": config.verifier,
        "engine": config.engine,
        **policies.precision(config),
    }


PHASE = Phase("evaluate", settings, resumable=True)

QUESTIONS_SEED = 0
"""Chooses the questions of a limited task: the same in every run, whatever the run's own seed."""

MEASURED = 64
"""Outputs on which the distance to the initial policy is measured."""


def run(job: Job) -> None:
    """Write DATASET.SPLIT.json (figures) and DATASET.SPLIT.answers.jsonl for each task."""
    from pipelines.evaluation import scoring
    from pipelines.evaluation.evaluating import evaluate

    config = job.config
    place = world.current(config.launch.processes)
    policy = job.inputs["policy"] / "policy"
    scorer = scoring.load(config.evaluate)  # first: an engine may take the memory that is free
    with policies.sampled_in(config, policy) as sampler:
        evaluate(
            rendered_tasks(config, sampler),
            sampler.engine,
            scorer,
            config.evaluate,
            job.seed,
            job.output,
            place,
            job.progress,
        )
        drawn = None
        if place.first and "initial" in job.inputs:
            drawn = outputs(job, sampler)
    if drawn is not None:
        write_json(job.output / "divergence.json", {"kl_initial": moved(job, sampler, *drawn)})
    place.wait()


def rendered_tasks(config: Config, sampler: Sampler) -> list[Rendered]:
    """Return the tasks as the policy will see them."""
    from pipelines.evaluation.rendering import render

    room = config.evaluate.max_tokens or config.max_tokens
    return [render(task, sampler.tokenizer, sampler.context, room) for task in tasks(config)]


def tasks(config: Config) -> list[Task]:
    """Return the configured tasks; their rows are read once a process."""
    from pipelines.evaluation.tasks import load_tasks

    chosen = config.evaluate
    return load_tasks(
        chosen.tasks,
        config.data.path,
        chosen.limit,
        QUESTIONS_SEED,
        config.policy.prompt,
        config.verifier,
    )


def outputs(job: Job, sampler: Sampler) -> tuple[list[Prompt], list[list[Completion]]]:
    """Return fresh outputs for training questions, with their prompts."""
    config = job.config
    problems = questions.training(config).problems
    drawn = questions.draw(problems, min(MEASURED, len(problems)), job.seed)
    rendered = sample.prompts_of(config, drawn, sampler.tokenizer, sampler.context)
    groups = sampled_groups(
        sampler.engine,
        rendered,
        Sampling(
            group_size=1,
            max_tokens=config.max_tokens,
            stop=sample.stop_of(config),
            seed=job.seed,
        ),
    )
    return rendered, groups


def moved(
    job: Job, sampler: Sampler, rendered: list[Prompt], groups: list[list[Completion]]
) -> float:
    """Return the policy's KL from the initial one on its outputs."""
    settings = job.config.policy
    policy = sampler.model
    # The engine held a copy of its own, or one in which small distances drown.
    if policy is None or job.config.optimize.bf16:
        policy, _ = policies.load(job.inputs["policy"] / "policy", settings)
    initial, _ = policies.load(job.inputs["initial"] / "policy", settings)
    return kl(policy, initial, rendered, groups)
