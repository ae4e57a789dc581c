"""From tasks to figures, for the loop's phase and for the command alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iterative_grpo import plugins
from iterative_grpo.protocols import Engine
from pipelines.artifacts import ArtifactError, write_json
from pipelines.evaluate_settings import EvaluateSettings
from pipelines.evaluation import scoring
from pipelines.evaluation.answering import Samples, answer, by_question
from pipelines.evaluation.figures import figures
from pipelines.evaluation.parts import AGAIN, Parts
from pipelines.evaluation.rendering import Rendered
from pipelines.progress import Progress
from pipelines.world import World
from reward_models.protocols import Scorer


def evaluate(
    tasks: Sequence[Rendered],
    engine: Engine,
    scorer: Scorer | None,
    settings: EvaluateSettings,
    seed: int,
    folder: Path,
    place: World,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Answer tasks, or go on with them; write STEM.json and STEM.answers.jsonl for each.

    Args:
        tasks: what to ask; nothing can be wrong with it any more.
        engine: answers; called in this process for its share of the questions.
        scorer: the reward model that chooses among samples, or none (`scoring.load`).
        settings: how many samples, and what is made of them.
        seed: of the samples.
        folder: where everything goes; rows of this evaluation that are there are kept.
        place: this process among those at work.
        progress: shows how far it is.

    Returns:
        The figures of each task, in the first process; nothing in the others.
    """
    samples = Samples(settings.samples, settings.temperature, settings.top_p, seed)
    for rendered in tasks:
        answer(rendered, engine, samples, answers_of(folder, rendered), place, progress)
    if scorer is not None:
        splitter = plugins.find("iterative_grpo.splitters", settings.splitter, "splitter")
        for rendered in tasks:
            scoring.score(
                scorer,
                splitter.Splitter(),
                by_question(answers(rendered, settings, folder)),
                scores_of(folder, rendered),
                place,
                progress,
                f"score {rendered.task.name}",
            )
    if not place.first:
        return []
    found = [_figures(rendered, settings, folder) for rendered in tasks]
    for rendered, made in zip(tasks, found, strict=True):
        write_json(folder / f"{rendered.task.stem}.json", made)
    return found


def answers_of(folder: Path, rendered: Rendered) -> Parts:
    """Return a task's answers."""
    return Parts(folder, f"{rendered.task.stem}.answers")


def scores_of(folder: Path, rendered: Rendered) -> Parts:
    """Return what a reward model gave a task's samples."""
    return Parts(folder, f"{rendered.task.stem}.scores")


def answers(rendered: Rendered, settings: EvaluateSettings, folder: Path) -> list[dict[str, Any]]:
    """Return a task's rows: of each question the greedy answer, then its samples."""
    return _rows(answers_of(folder, rendered), rendered, range(1 + settings.samples))


def _rows(parts: Parts, rendered: Rendered, samples: range) -> list[dict[str, Any]]:
    """Return the rows of all questions; figures of some of them would pass for those of the task.

    Raises ArtifactError where a row is missing, twice there, or of something else.
    """
    rows = list(parts.rows())
    expected = [(problem.id, sample) for problem in rendered.task.problems for sample in samples]
    found = [(row.get("problem_id"), row.get("sample")) for row in rows]
    if found != expected:
        raise ArtifactError(
            f"{parts.whole}: {len(found):,} rows that are not the {len(expected):,} of "
            f"{len(rendered.task.problems):,} questions in their order; the file was cut or "
            f"edited. {AGAIN}"
        )
    return rows


def _figures(rendered: Rendered, settings: EvaluateSettings, folder: Path) -> dict[str, Any]:
    rows = answers(rendered, settings, folder)
    made = figures(rendered, [row for row in rows if row["sample"] == 0])
    if settings.samples:
        from pipelines.evaluation.choosing import choices

        groups = by_question(rows)
        scores = None
        if settings.reward_model is not None:
            drawn = range(1, 1 + settings.samples)
            flat = iter(_rows(scores_of(folder, rendered), rendered, drawn))
            scores = [[next(flat)["values"] for _ in group] for group in groups]
        made["samples"] = {
            "of_each_question": settings.samples,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "reward_model": settings.reward_model,
            "reward_convention": settings.reward_convention,
            "reward_dtype": settings.reward_dtype,
            "splitter": settings.splitter,
            **choices(groups, rendered.task.verifier, settings.sizes, scores),
        }
    return made
