"""Sample the policy that is to be judged: the reward model learns from fresh outputs (§4.1.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iterative_grpo import completions
from iterative_grpo.engines import sampled_groups
from iterative_grpo.types import Problem, Prompt, Sampling
from pipelines import datasets, dividing, policies, prompts, questions, world
from pipelines.config import Config
from pipelines.runs import Job, Phase, seed_of
from reward_models.ledger import disputed

OUTPUTS_AT_ONCE = 2_048
"""Outputs sampled in one call of an engine: enough to keep it busy, few enough to show progress."""


def settings(config: Config) -> Mapping[str, Any]:
    """Return the settings that the samples depend on."""
    return {
        "sample": config.sample.model_dump(mode="json"),
        "data": questions_settings(config),
        "max_tokens": config.max_tokens,
        "engine": config.engine,
        **policies.precision(config),
    }


def questions_settings(config: Config) -> Mapping[str, Any]:
    """Return what the drawn questions and their prompts depend on; where files lie does not."""
    return {
        **config.data.model_dump(mode="json", exclude={"path", "decontaminate"}),
        "fingerprint": questions.training(config).fingerprint,
        "decontaminated": questions.contamination(config).fingerprint,
        "verifier": questions.convention(config),
        "prompt": config.policy.prompt,
    }


PHASE = Phase("sample", settings)


def run(job: Job) -> None:
    """Write samples.jsonl: `sample.group_size` completions of each drawn question."""
    config = job.config
    place = world.current(config.launch.processes)
    drawn = questions_of(job)
    dividing.check(config, drawn)
    mine = place.share(drawn)
    at_once = max(1, OUTPUTS_AT_ONCE // config.sample.group_size)
    policy = job.inputs["policy"] / "policy"
    with (
        policies.sampled_in(config, policy) as sampler,
        (job.output / world.shard("samples.jsonl", place.rank)).open("w", encoding="utf-8") as out,
        job.progress.bar("sample", len(mine) * config.sample.group_size, "completions") as bar,
    ):
        rendered = prompts_of(config, mine, sampler.tokenizer, sampler.context)
        for begin in range(0, len(mine), at_once):
            groups = sampled_groups(
                sampler.engine,
                rendered[begin : begin + at_once],
                Sampling(
                    group_size=config.sample.group_size,
                    max_tokens=config.max_tokens,
                    temperature=config.sample.temperature,
                    stop=stop_of(config),
                    seed=job.seed + 7_919 * place.rank + begin,
                ),
            )
            for group in groups:
                completions.write(out, group)
            bar.advance(sum(len(group) for group in groups))
    place.merge(job.output, "samples.jsonl")


def questions_of(job: Job) -> list[Problem]:
    """Return the questions drawn for the reward model in this iteration.

    The policy's artifact carries the ledger of the phase that made it; with `sample.from_ledger`
    the questions that model and verifier disagreed on come first.
    """
    ledger = job.inputs["policy"] / "ledger.jsonl"
    found = disputed(ledger) if job.config.sample.from_ledger and ledger.exists() else []
    return drawn_in(job.config, job.iteration, found)


def drawn_in(config: Config, iteration: int, asked_first: Sequence[str] = ()) -> list[Problem]:
    """Return an iteration's questions: those of a ledger, as far as wanted, and a draw by seed."""
    sample = config.sample
    count = sample.first_problems if iteration == 1 else None
    problems = questions.training(config).problems
    count = min(count or sample.problems, len(problems))
    by_id = {problem.id: problem for problem in problems}
    first = [by_id[i] for i in asked_first[: round(sample.from_ledger * count)]]
    taken = {problem.id for problem in first}
    rest = [problem for problem in problems if problem.id not in taken]
    seed = seed_of(config, iteration, PHASE.name)
    return first + questions.draw(rest, count - len(first), seed)


def prompts_of(
    config: Config, problems: Sequence[Problem], tokenizer: Any, context: int | None
) -> list[Prompt]:
    """Return the training prompts of problems; refuse them if an answer would not fit behind."""
    return prompts.make_prompts(
        problems,
        tokenizer,
        prompt_name(config),
        max_tokens=config.max_tokens,
        context=context,
        data=config.data.path,
    )


def stop_of(config: Config) -> tuple[str, ...]:
    """Return the strings that end an answer in the training prompts' format."""
    return prompts.stop_strings(prompt_name(config))


def prompt_name(config: Config) -> str:
    """Return the prompt format: the configured one, or the data set's own."""
    return config.policy.prompt or datasets.find(config.data.name).PROMPT
