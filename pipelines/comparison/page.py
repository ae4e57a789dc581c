"""The comparison as one self-contained page; every text of a model is escaped."""

from __future__ import annotations

from pipelines.comparison.answers import Answer
from pipelines.comparison.comparing import Comparison, Switched, TaskComparison
from pipelines.comparison.tables import accuracies, fates
from pipelines.report.markup import document, table, text

MOST = 200
"""Questions of a task that are shown for each side."""


def render(comparison: Comparison) -> str:
    """Return the whole page."""
    names = f"{comparison.first.name} and {comparison.second.name}"
    body = "\n".join(
        [
            f"<h1>{text(names)}</h1>",
            f'<p class="faint">A: {text(comparison.first.place)}<br>'
            f"B: {text(comparison.second.place)}</p>",
            "<h2>Accuracy on the same questions</h2>",
            table(accuracies(comparison)),
            '<p class="faint">B - A in points of accuracy with its 95% interval, from '
            "10,000 resamples of the questions. Gained: right in B only; lost: right in A only. "
            "p: the exact McNemar test, how likely so uneven a change would be if nothing had "
            "changed.</p>",
            "<h3>What became of the other answers</h3>",
            table(fates(comparison)),
            _notes(comparison),
            *(_task(task) for task in comparison.tasks),
        ]
    )
    return document(f"{names} - iterative-grpo", body)


def _notes(comparison: Comparison) -> str:
    notes = [f"{task.task}: {note}" for task in comparison.tasks for note in task.notes]
    lines = "".join(f"<li>{text(note)}</li>" for note in [*notes, *comparison.notes])
    return f"<h3>What else is different</h3><ul>{lines}</ul>" if lines else ""


def _task(task: TaskComparison) -> str:
    left_out = ""
    if task.only_first or task.only_second:
        left_out = (
            f"<p>Left out: {task.only_first:,} questions that only A answered, "
            f"{task.only_second:,} that only B answered.</p>"
        )
    parts = [f"<h2>{text(task.task)}: questions that changed sides</h2>{left_out}"]
    for gained, side in ((True, "B"), (False, "A")):
        chosen = [it for it in task.switched if it.gained is gained]
        shown = f", the first {MOST} below" if len(chosen) > MOST else ""
        parts.append(
            f"<details open><summary>Right in {side} only: {len(chosen):,}{shown}</summary>"
            f'<div class="samples">{"".join(map(_switched, chosen[:MOST]))}</div></details>'
        )
    return "".join(parts)


def _switched(switched: Switched) -> str:
    return (
        f'<article class="sample"><p>{text(switched.question)}</p>'
        f'<p class="faint">{text(switched.id)}, gold: {text(switched.gold)}</p>'
        f"{_answer('A', switched.first)}{_answer('B', switched.second)}</article>"
    )


def _answer(side: str, answer: Answer) -> str:
    kind = "right" if answer.correct else "wrong"
    cut = ", truncated" if answer.truncated else ""
    read = f", read as {answer.extracted}" if answer.extracted else ""
    return (
        f'<p class="mark {kind}">{side}: {text(answer.outcome.replace("_", " ") + cut + read)}</p>'
        f'<div class="solution"><div><span>{text(answer.response)}</span></div></div>'
    )
