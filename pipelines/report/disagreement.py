"""Reward model against verifier: the four cells by iteration, and what the watch said."""

from __future__ import annotations

from pathlib import Path

from pipelines import places
from pipelines.report import samples
from pipelines.report.run import Row, Run, number, section
from pipelines.report.table import Table
from reward_models.ledger import CELLS, Judgement, read_ledger

PER_ITERATION = 4
"""Samples of liked, wrong outputs that are shown of an iteration."""


def cells(run: Run) -> Table:
    """Return one row an iteration: outputs of each cell with their share; empty without any."""
    rows = []
    for row in run.begun:
        counts = section(section(row, "watch"), "cells")
        found = [number(counts, cell) or 0.0 for cell in CELLS]
        total = sum(found)
        if total:
            shown = (f"{count:,.0f} ({count / total:.1%})" for count in found)
            rows.append((f"{number(row, 'iteration') or 0:.0f}", *shown))
    return Table(("iteration", *(cell.replace(" ", ", ") for cell in CELLS)), tuple(rows))


def reasons(run: Run) -> list[str]:
    """Return what the watch said, a sentence an iteration in which it spoke."""
    return [
        f"Iteration {number(row, 'iteration') or 0:.0f}, step {number(watch, 'step') or 0:.0f}: "
        f"{watch['reason']}; {'the phase ended there' if watch.get('stopped') else 'reported'}."
        for row in run.begun
        if isinstance((watch := section(row, "watch")).get("reason"), str)
    ]


def liked_wrong(run: Path, iteration: int) -> list[samples.Sample]:
    """Return kept outputs that the model liked and the verifier found wrong, most liked first.

    A ledger that is missing or cannot be read gives none.
    """
    folder = places.phase(run, iteration, "optimize")
    try:
        kept = [it for it in read_ledger(folder / "ledger.jsonl") if it.cell == "liked wrong"]
    except (OSError, ValueError):
        return []
    problems = samples.problems_of(folder)
    kept.sort(key=lambda it: -it.score)
    found = [_sample(it, problems.get(it.problem_id, {})) for it in kept]
    return samples.varied(found)[:PER_ITERATION]


def _sample(judgement: Judgement, problem: Row) -> samples.Sample:
    return samples.Sample(
        problem_id=judgement.problem_id,
        question=str(problem.get("question", "")),
        answer=str(problem.get("answer", "")),
        correct=judgement.correct,
        steps=(samples.Step(judgement.text, judgement.score),),
        policy_step=judgement.step,
    )
