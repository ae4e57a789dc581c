"""Evaluate the policy on held-out problems, greedy and by samples: accuracy by the verifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from iterative_grpo.divergence import Rows, k3, rows_of, token_logps
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
            rendered_tasks(config, sampler.tokenizer, sampler.context),
            sampler.engine,
            scorer,
            config.evaluate,
            job.seed,
            job.output,
            place,
            job.progress,
        )
        rows, here = None, None
        if place.first and "initial" in job.inputs:
            rows = rows_of(*outputs(job, sampler))
            # Not where the engine has a copy of its own, or one in which small distances drown.
            if sampler.model is not None and not config.optimize.bf16:
                here = token_logps(sampler.model, rows)
    del sampler  # and its model: a GPU may have no room for another one beside it
    if rows is not None:
        write_json(job.output / "divergence.json", {"kl_initial": moved(job, rows, here)})
    place.wait()


def rendered_tasks(config: Config, tokenizer: Any, context: int | None) -> list[Rendered]:
    """Return the tasks as a policy will see them."""
    from pipelines.evaluation.rendering import render

    room = config.evaluate.max_tokens or config.max_tokens
    return [render(task, tokenizer, context, room) for task in tasks(config)]


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


def moved(job: Job, rows: Rows, here: Any) -> float:
    """Return the policy's KL from the initial one on its outputs.

    `here` are its log-probabilities, None if they are not known. One model is loaded at a time.
    """

    def logps(name: str) -> Any:
        model, _ = policies.load(job.inputs[name] / "policy", job.config.policy)
        return token_logps(model, rows)

    here = logps("policy") if here is None else here
    return float(k3(here, logps("initial")).mean())
