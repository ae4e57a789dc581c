"""The initial policy: a named model, or a small one made on the spot and warm-started."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from iterative_grpo.context import positions
from iterative_grpo.engines import sampled_groups
from iterative_grpo.types import Problem, Sampling
from pipelines import datasets, making, policies, prompts, questions, verifying, world
from pipelines import warm_start as warming
from pipelines.artifacts import LOG, write_json
from pipelines.config import Config, Shape, WarmStart
from pipelines.phases import sample
from pipelines.runs import Job, Phase

VALIDATION = 200
"""Validation problems that decide when a warm start stops."""


def settings(config: Config) -> Mapping[str, Any]:
    """Return the settings that the initial policy depends on."""
    made = config.policy.make is not None
    return {
        "policy": config.policy.model_dump(mode="json", exclude={"lora"}),
        "data": sample.questions_settings(config) if made else None,
    }


PHASE = Phase("start", settings)


def run(job: Job) -> None:
    """Write policy/: weights and tokenizer, as `from_pretrained` loads them."""
    config = job.config
    if not world.current(config.launch.processes).first:
        return
    if config.policy.model is not None:
        # Its prompts were checked before the run began, without its weights.
        model, tokenizer = policies.load(config.policy.model, config.policy)
    else:
        model, tokenizer = make(job)
    policies.save(model, tokenizer, job.output / "policy")


def check_prompts(config: Config, tokenizer: Any, context: int | None) -> list[str]:
    """Render every question that a phase may ask: one too long would end the run there.

    Returns what is worth saying of the training questions; evaluations say their own.
    """
    from pipelines.phases.evaluate import rendered_tasks

    problems = questions.training(config).problems
    rendered = sample.prompts_of(config, problems, tokenizer, context)
    rendered_tasks(config, tokenizer, context)
    return prompts.unknown_words(rendered, tokenizer)


def rehearse(config: Config) -> list[str]:
    """Refuse what `make` would stop at before the first step; return what it would say by then."""
    tokenizer = make_tokenizer(config, demonstrations(config))
    return check_prompts(config, tokenizer, shape_of(config).context)


def make(job: Job) -> tuple[Any, Any]:
    """Make a small policy, and train it on demonstrations if a warm start is configured."""
    config = job.config
    shape = shape_of(config)
    shown = demonstrations(config)
    tokenizer = make_tokenizer(config, shown)
    model: Any = making.make_policy(tokenizer, shape, job.seed)
    for note in check_prompts(config, tokenizer, shape.context):
        job.progress.note(note)
    model.to(policies.device())
    warm = config.policy.warm_start
    if warm is not None:
        form = prompts.find(sample.prompt_name(config), config.data.path)
        pairs = [(form.render(problem, tokenizer), solution) for problem, solution in shown]
        warm_start(job, model, tokenizer, pairs, warm)
    return model.eval(), tokenizer


def demonstrations(config: Config) -> list[tuple[Problem, str]]:
    """Return the problems that a policy made on the spot may learn from, with their solutions."""
    module: Any = datasets.find(config.data.name)
    draw = random.Random(f"demonstrations/{config.seed}")  # noqa: S311 - reproducible only
    show: Callable[[Problem], str] = module.demonstration
    if hasattr(module, "faulty_demonstration"):
        # The task's demonstrations carry known mistakes, for reinforcement learning to correct.
        def show(problem: Problem) -> str:
            return str(module.faulty_demonstration(problem, draw))

    warm = config.policy.warm_start
    problems = questions.training(config).problems
    return [(each, show(each)) for each in (problems[: warm.demonstrations] if warm else problems)]


def shape_of(config: Config) -> making.ModelShape:
    """Return the size of a policy made on the spot; raise UnfitShape for one that cannot be."""
    shape = _asked_for(config)
    return making.ModelShape(
        width=shape.width, layers=shape.layers, heads=shape.heads, context=shape.context
    )


def make_tokenizer(config: Config, shown: Sequence[tuple[Problem, str]]) -> Any:
    """Train the tokenizer of a policy made on the spot, on its demonstrations."""
    shape = _asked_for(config)
    texts = [each for problem, text in shown for each in (f"{problem.question}\n", text)]
    return making.make_tokenizer(shape.tokenizer, texts, shape.vocabulary)


def _asked_for(config: Config) -> Shape:
    if config.policy.make is None:
        raise ValueError("policy.make is not set")
    return config.policy.make


def warm_start(
    job: Job, model: Any, tokenizer: Any, pairs: list[tuple[str, str]], warm: WarmStart
) -> None:
    """Train on demonstrations until the policy is right often enough on validation problems."""
    config = job.config
    context = positions(model.config)
    prompts_ids, solution_ids = (
        tokenizer([pair[side] for pair in pairs])["input_ids"] for side in (0, 1)
    )
    fitting = [
        pair
        for pair, before, after in zip(pairs, prompts_ids, solution_ids, strict=True)
        if context is None or len(before) + len(after) < context
    ]
    if len(fitting) < len(pairs):
        job.progress.note(
            f"warm start: {len(pairs) - len(fitting)} of {len(pairs)} demonstrations are longer "
            f"than the context of {context} tokens and are left out"
        )
    if not fitting:
        raise policies.PolicyError(
            f"no demonstration fits the context of {context} tokens; raise policy.make.context"
        )
    settings = warming.WarmStart(
        steps=warm.steps,
        batch=warm.batch,
        learning_rate=warm.learning_rate,
        muon_learning_rate=warm.muon_learning_rate,
        stop_at=warm.stop_at,
        seed=job.seed,
    )
    with job.progress.bar("warm start", warm.steps, "steps") as bar:
        done = 0

        def show(state: warming.Progress) -> None:
            nonlocal done
            note = f"loss {state.loss:.3f}"
            if state.accuracy is not None:
                # The verifier's reward of greedy answers: the first reward a run shows.
                note += f", reward on validation questions {state.accuracy:.3f}"
            bar.advance(state.step - done, note)
            done = state.step

        result = warming.warm_start(
            model, tokenizer, fitting, settings, validator(config, model, tokenizer), show
        )
    (job.output / LOG).mkdir()
    write_json(
        job.output / LOG / "warm_start.json",
        {
            "demonstrations": len(fitting),
            "steps": result.steps,
            "seconds": result.seconds,
            "loss": result.loss,
            "validation_accuracy": result.accuracy,
        },
    )
    job.progress.note(
        f"warm start: {result.steps} steps, validation accuracy "
        + ("not measured" if result.accuracy is None else f"{result.accuracy:.3f}")
    )


def validator(config: Config, model: Any, tokenizer: Any) -> Callable[[], float]:
    """Return what measures greedy accuracy on validation questions, which no report uses."""
    split = questions.load(
        config.data.name,
        "validation",
        config.data.path,
        VALIDATION,
        config.seed,
        1.0,
    )
    context = positions(model.config)
    rendered = sample.prompts_of(config, split.problems, tokenizer, context)
    engine = policies.live_loader(config)(model, tokenizer)
    verdicts = verifying.verifier(config)

    def accuracy() -> float:
        sampling = Sampling(
            group_size=1,
            max_tokens=config.max_tokens,
            temperature=0.0,
            stop=sample.stop_of(config),
        )
        groups = sampled_groups(engine, rendered, sampling)
        pairs = [(g[0].text, p.answer) for g, p in zip(groups, split.problems, strict=True)]
        return sum(verdict.correct for verdict in verdicts(pairs)) / len(pairs)

    return accuracy
