"""Where the time went, in tables: by part of the work, and by phase and part."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from iterative_grpo.timing import INPUT_OUTPUT, OTHER, WORK
from pipelines.report.pictures.duration import PHASES, duration
from pipelines.report.run import Run, number, section
from pipelines.report.table import Table


def by_part(run: Run) -> Table:
    """Return one row a part of the work: time over the whole run, share, tokens a second.

    Empty for a run whose phases kept no times.
    """
    spent: dict[str, float] = {}
    tokens: dict[str, float] = {}
    counted: dict[str, float] = {}
    for _, part, seconds, worked_on in _cells(run):
        spent[part] = spent.get(part, 0.0) + seconds
        if worked_on:
            tokens[part] = tokens.get(part, 0.0) + worked_on
            counted[part] = counted.get(part, 0.0) + seconds
    whole = sum(spent.values())
    rows = [
        (
            part,
            duration(spent[part]),
            f"{spent[part] / whole:.1%}",
            f"{tokens[part] / counted[part]:,.0f}" if counted.get(part) else "",
        )
        for part in _ordered(spent)
        if whole
    ]
    return Table(("where the time went", "time", "share", "tokens/s"), tuple(rows))


def by_phase(run: Run) -> Table:
    """Return one row a phase with a column for each part, over the whole run."""
    spent: dict[str, dict[str, float]] = {}
    for phase, part, seconds, _ in _cells(run):
        parts = spent.setdefault(phase, {})
        parts[part] = parts.get(part, 0.0) + seconds
    columns = _ordered({part: 0.0 for parts in spent.values() for part in parts})
    phases = [phase for phase in dict.fromkeys([*PHASES, *spent]) if phase in spent]
    rows = [
        (phase, *(duration(spent[phase][c]) if c in spent[phase] else "" for c in columns))
        for phase in phases
    ]
    return Table(("phase", *columns), tuple(rows))


def outside(run: Run) -> float | None:
    """Return the share of an iteration outside of generation, scoring and training.

    The median over iterations from the second on, whose processes have loaded their libraries, or
    of the first where there is no other.
    """
    shares = [
        share
        for row in run.iterations
        if number(row, "iteration")
        and (share := number(section(section(row, "time"), "outside"), "share")) is not None
    ]
    return statistics.median(shares[1:] or shares) if shares else None


def _cells(run: Run) -> Iterator[tuple[str, str, float, float]]:
    """Yield (phase, part, seconds, tokens) of all finished phases."""
    for row in run.begun:
        phases = section(section(row, "time"), "phases")
        for phase in phases:
            parts = section(phases, phase)
            for part in parts:
                figures = section(parts, part)
                seconds = number(figures, "seconds")
                if seconds is not None:
                    yield phase, part, seconds, number(figures, "tokens") or 0.0


def _ordered(parts: dict[str, float]) -> list[str]:
    last = (INPUT_OUTPUT, OTHER)
    unknown = [part for part in parts if part not in (*WORK, *last)]
    return [part for part in (*WORK, *unknown, *last) if part in parts]
