"""Answers of a policy to a task, verified: one row an answer.

A question's rows follow each other: the greedy answer (`sample` 0), then the samples (from 1 on).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iterative_grpo.engines import sampled_groups
from iterative_grpo.protocols import Engine
from iterative_grpo.types import Completion, Problem, Sampling
from pipelines import verifying
from pipelines.evaluation.parts import Parts
from pipelines.evaluation.rendering import Rendered
from pipelines.progress import Progress
from pipelines.world import World

OUTPUTS_AT_ONCE = 512
"""Outputs between two writes: enough to keep an engine busy, few enough to lose to a kill."""


@dataclass(frozen=True, slots=True)
class Samples:
    """How answers beside the greedy one are drawn; `count` 0 draws none."""

    count: int = 0
    temperature: float = 0.7
    top_p: float = 1.0
    seed: int = 0


def answer(
    rendered: Rendered,
    engine: Engine,
    samples: Samples,
    parts: Parts,
    place: World,
    progress: Progress,
) -> None:
    """Answer what `parts` does not hold yet."""
    at_once = max(1, OUTPUTS_AT_ONCE // (1 + samples.count))

    def make(run: range) -> tuple[list[dict[str, Any]], dict[str, float]]:
        return _run(rendered, engine, samples, run)

    label = f"evaluate {rendered.task.name}"
    parts.fill(len(rendered.prompts), at_once, make, place, progress, label)


def _run(
    rendered: Rendered, engine: Engine, samples: Samples, run: range
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Return the rows of a run of questions, and seconds by what they were spent on."""
    chosen = slice(run.start, run.stop)
    prompts, problems = rendered.prompts[chosen], rendered.task.problems[chosen]
    started = time.perf_counter()
    greedy = Sampling(
        group_size=1, max_tokens=rendered.max_tokens, temperature=0.0, stop=rendered.stop
    )
    # One call for both: an engine reads each question once and fills its batches.
    asked, samplings = list(prompts), [greedy] * len(prompts)
    if samples.count:
        drawn = Sampling(
            group_size=samples.count,
            max_tokens=rendered.max_tokens,
            temperature=samples.temperature,
            top_p=samples.top_p,
            stop=rendered.stop,
            # Engines whose draws start at the seed shall not repeat them from run to run.
            seed=samples.seed + 7_919 * run.start,
        )
        asked += prompts
        samplings += [drawn] * len(prompts)
    made = sampled_groups(engine, asked, samplings)
    groups = [list(itertools.chain(*made[i :: len(prompts)])) for i in range(len(prompts))]
    generated = time.perf_counter()
    rows = judged(rendered.task.verifier, problems, groups)
    verified = time.perf_counter()
    return rows, {"generate": generated - started, "verify": verified - generated}


def judged(
    verifier: str, problems: Sequence[Problem], groups: Sequence[Sequence[Completion]]
) -> list[dict[str, Any]]:
    """Return one row an answer, with its verdict; `groups[i]` answers `problems[i]`."""
    answers = [
        (problem, sample, completion)
        for problem, group in zip(problems, groups, strict=True)
        for sample, completion in enumerate(group)
    ]
    pairs = [(completion.text, problem.answer) for problem, _, completion in answers]
    return [
        {
            "problem_id": problem.id,
            "sample": sample,
            "outcome": verdict.outcome.value,
            "extracted": verdict.extracted,
            "answer": problem.answer,
            "question": problem.question,
            "response": completion.text,
            "finish": completion.finish.value,
            "tokens": len(completion.token_ids),
            "tags": dict(problem.tags),
        }
        for (problem, sample, completion), verdict in zip(
            answers, verifying.by_convention(verifier)(pairs), strict=True
        )
    ]


def by_question(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return the samples of each question; rows of a question follow each other."""
    sampled = (row for row in rows if row["sample"] > 0)
    return [list(group) for _, group in itertools.groupby(sampled, key=lambda r: r["problem_id"])]
