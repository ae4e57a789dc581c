"""A run from configuration to report, and evaluation by itself: what the commands call."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pipelines.config import Config, PolicySettings
from pipelines.progress import Progress
from pipelines.runs import Run, RunError, versions


def run(config: Config, *, quiet: bool = False) -> Path:
    """Run Algorithm 1 (or go on with it) and report; return the final policy's folder.

    Everything lies in `config.run_dir`. The same configuration again resumes at the phase that was
    cut off, or after the last iteration if more are asked for.
    """
    from pipelines import decontamination, launching, preflight, questions, report
    from pipelines.artifacts import write_json
    from pipelines.iterate import iterate

    progress = Progress(quiet=quiet)
    preflight.check(config, progress)
    with Run(config, progress, launching.starter(config)) as opened:
        found = decontamination.record(questions.contamination(config))
        write_json(opened.path / "decontamination.json", found)
        policy = iterate(opened)
        report.write(opened.path)
    if not quiet:
        print(report.summary(config.run_dir))
    return policy.path / "policy"


def evaluate_model(
    model: str,
    tasks: tuple[str, ...],
    *,
    data: Path | None = None,
    output: Path | None = None,
    prompt: str | None = None,
    engine: str = "native",
    limit: int | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Evaluate a model greedily on tasks, print a line each, and return the figures.

    With `output`, figures and answers are kept there; a folder that is not empty is refused.
    """
    import json
    import tempfile

    from iterative_grpo import plugins
    from pipelines import policies
    from pipelines.artifacts import write_json
    from pipelines.evaluation import evaluate, figures, load_task

    if output is not None and output.exists() and any(output.iterdir()):
        raise RunError(f"{output} is not empty; give --output another folder")
    plugins.check("iterative_grpo.engines", engine, "engine")
    loaded = [load_task(task, data, limit, seed, prompt) for task in tasks]
    for task in loaded:
        print(f"{task.name}: {len(task.problems)} problems, sha256 {task.fingerprint[:12]}"
              f"{'; ' + task.note if task.note else ''}")  # fmt: skip
    policy, tokenizer = policies.load(model, PolicySettings(model=model))
    sampler = plugins.find("iterative_grpo.engines", engine).load(policy, tokenizer)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = output or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for task in loaded:
            stem = task.name.replace("/", ".")
            answers = folder / f"{stem}.answers.jsonl"
            rows = evaluate(task, sampler, tokenizer, max_tokens, Progress(), answers)
            result = figures(task, rows)
            record = {
                **result,
                "model": model,
                "engine": engine,
                "max_tokens": max_tokens,
                "seed": seed,
                "limit": limit,
                "versions": versions(),
                "answers_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
            }
            write_json(folder / f"{stem}.json", record)
            results.append(record)
            print(
                f"{task.name}: {result['correct']}/{result['n']} = {result['accuracy']:.1%} "
                f"[{result['low']:.1%}, {result['high']:.1%}], no answer {result['no_answer']}, "
                f"unparsed {result['unparsed']}, truncated {result['truncated']}"
            )
    return results
