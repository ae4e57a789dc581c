"""Greedy accuracy on a task, with its interval and every answer kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterative_grpo.protocols import Engine
from iterative_grpo.types import Completion, Finish, Problem, Sampling
from pipelines import datasets, judging, prompts, questions
from pipelines.progress import Progress
from pipelines.report.intervals import wilson

OUTPUTS_AT_ONCE = 1_024


@dataclass(frozen=True, slots=True)
class Task:
    """A split to evaluate on: its problems, the verifier's conventions, the prompt format."""

    name: str
    problems: tuple[Problem, ...]
    fingerprint: str
    note: str
    verifier: str
    prompt: str


def load_task(
    name: str, path: Path | None, limit: int | None, seed: int, prompt: str | None = None
) -> Task:
    """Load a task named `data set` or `data set/split` (test if no split is named)."""
    dataset, _, split = name.partition("/")
    module = datasets.find(dataset)
    if getattr(module, "MADE", False):
        path = None  # made on the spot, whatever folder the other tasks are read from
    rows = questions.load(dataset, split or "test", path, limit, seed, module.VERIFIER, 1.0)
    return Task(
        name=f"{dataset}/{split or 'test'}",
        problems=rows.problems,
        fingerprint=rows.fingerprint,
        note="; ".join([rows.note, *rows.rejected]).strip("; "),
        verifier=module.VERIFIER,
        prompt=prompt or module.PROMPT,
    )


def evaluate(
    task: Task,
    engine: Engine,
    tokenizer: Any,
    max_tokens: int,
    progress: Progress,
    answers: Path,
) -> list[dict[str, Any]]:
    """Answer every problem greedily; write and return one row an answer."""
    rendered = prompts.make_prompts(task.problems, tokenizer, task.prompt)
    rows: list[dict[str, Any]] = []
    with (
        answers.open("w", encoding="utf-8") as out,
        progress.bar(f"evaluate {task.name}", len(rendered), "questions") as bar,
    ):
        for begin in range(0, len(rendered), OUTPUTS_AT_ONCE):
            chunk = slice(begin, begin + OUTPUTS_AT_ONCE)
            groups = engine.generate(
                rendered[chunk], Sampling(group_size=1, max_tokens=max_tokens, temperature=0.0)
            )
            completions = [group[0] for group in groups]
            for row in judged(task, task.problems[chunk], completions):
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                rows.append(row)
            right = sum(row["outcome"] == "correct" for row in rows)
            bar.advance(len(completions), f"{right} right")
    return rows


def judged(
    task: Task, problems: Sequence[Problem], completions: Sequence[Completion]
) -> list[dict[str, Any]]:
    """Return one row an answer, with its verdict."""
    pairs = [(c.text, p.answer) for p, c in zip(problems, completions, strict=True)]
    return [
        {
            "problem_id": problem.id,
            "outcome": verdict.outcome.name.lower(),
            "extracted": verdict.extracted,
            "answer": problem.answer,
            "question": problem.question,
            "response": completion.text,
            "finish": completion.finish.value,
            "tokens": len(completion.token_ids),
            "tags": dict(problem.tags),
        }
        for problem, completion, verdict in zip(
            problems, completions, judging.judge_by(task.verifier)(pairs), strict=True
        )
    ]


def figures(task: Task, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return accuracy with its Wilson interval, and what went wrong by kind."""
    outcomes = Counter(row["outcome"] for row in rows)
    total, right = len(rows), outcomes["correct"]
    interval = wilson(right, total)
    tokens = sum(row["tokens"] for row in rows)
    return {
        "task": task.name,
        "n": total,
        "correct": right,
        "accuracy": right / total,
        "low": interval.low,
        "high": interval.high,
        **{kind: outcomes[kind] for kind in ("incorrect", "no_answer", "unparsed", "timeout")},
        "truncated": sum(row["finish"] == Finish.LENGTH.value for row in rows),
        "mean_length": tokens / total,
        "tokens": tokens,
        "prompt": task.prompt,
        "verifier": task.verifier,
        "fingerprint": task.fingerprint,
        "note": task.note,
    }
