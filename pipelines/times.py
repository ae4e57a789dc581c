"""Where a run's time went: what the clock of each phase showed, kept beside its artifact.

`log/time.json` of a phase holds seconds and tokens by part, of the first process; its manifest has
the seconds of the whole phase, the start of processes and the sealing of files included.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from iterative_grpo import timing
from pipelines.artifacts import LOG, read_json, write_json

FILE = "time.json"

Row = dict[str, Any]


def write(output: Path, clock: timing.Clock) -> None:
    """Write what a phase's clock shows."""
    (output / LOG).mkdir(exist_ok=True)
    write_json(
        output / LOG / FILE,
        {
            name: {"seconds": round(spent.seconds, 4), "tokens": spent.tokens}
            for name, spent in clock.read().items()
        },
    )


def read(phase: Path) -> dict[str, timing.Spent]:
    """Return seconds and tokens by part of a finished phase; empty if none were kept."""
    file = phase / LOG / FILE
    if not file.exists():
        return {}
    parts = read_json(file, "it away to go on without its times")
    return {name: timing.Spent(spent["seconds"], spent["tokens"]) for name, spent in parts.items()}


def row(phases: Iterable[tuple[str, Path, float]]) -> Row:
    """Return an iteration's times, from (name, folder, seconds) of its finished phases.

    `phases` holds seconds, share of the iteration and tokens a second by phase and part; the time
    for which no part was open is the part `other`. `outside` is what is neither generation, nor
    scoring, nor training: input, output and other.
    """
    found = list(phases)
    whole = sum(seconds for _, _, seconds in found)
    by_phase: dict[str, dict[str, Row]] = {}
    work = 0.0
    for name, folder, seconds in found:
        parts = read(folder)
        parts.pop(timing.OTHER, None)
        rest = max(0.0, seconds - sum(spent.seconds for spent in parts.values()))
        parts[timing.OTHER] = timing.Spent(rest)
        by_phase[name] = {part: _figures(spent, whole) for part, spent in parts.items()}
        work += sum(spent.seconds for part, spent in parts.items() if part in timing.WORK)
    outside = timing.Spent(max(0.0, whole - work))
    return {"seconds": round(whole, 3), "phases": by_phase, "outside": _figures(outside, whole)}


def _figures(spent: timing.Spent, whole: float) -> Row:
    figures: Row = {"share": round(spent.seconds / whole, 4) if whole else 0.0, **asdict(spent)}
    if spent.tokens and spent.seconds:
        figures["tokens_per_second"] = round(spent.tokens / spent.seconds, 1)
    return figures
