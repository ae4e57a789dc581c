"""From tasks to figures, for the loop's phase and for the command alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iterative_grpo.protocols import Engine
from pipelines.artifacts import write_json
from pipelines.config import EvaluateSettings
from pipelines.evaluation.answering import Samples, answer
from pipelines.evaluation.figures import figures
from pipelines.evaluation.parts import Parts
from pipelines.evaluation.rendering import Rendered
from pipelines.progress import Progress
from pipelines.world import World


def evaluate(
    tasks: Sequence[Rendered],
    engine: Engine,
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
        settings: how many samples, and what is made of them.
        seed: of the samples.
        folder: where everything goes; rows of this evaluation that are there are kept.
        place: this process among those at work.
        progress: shows how far it is.

    Returns:
        The figures of each task, in the first process; nothing in the others.
    """
    samples = Samples(settings.samples, settings.temperature, settings.top_p, seed)
    found = []
    for rendered in tasks:
        parts = Parts(folder, rendered.task.stem)
        answer(rendered, engine, samples, parts, place, progress)
        if place.first:
            made = figures(rendered, [row for row in parts.rows() if row["sample"] == 0])
            write_json(folder / f"{rendered.task.stem}.json", made)
            found.append(made)
    return found
