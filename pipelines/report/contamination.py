"""What decontamination found before a run began, as the page shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.report.run import number, section
from pipelines.report.table import Table

FILE = "decontamination.json"
MOST = 40
"""Pairs that the page shows; the file has them all."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A training question beside the evaluation question that it resembles."""

    kind: str
    similarity: str
    train: str
    evaluation: str
    answers: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Contamination:
    """A table by evaluation set, and the pairs whose training question was left out."""

    off: bool
    table: Table
    left_out: int
    pairs: tuple[Pair, ...]


def read(run: Path) -> Contamination | None:
    """Read RUN/decontamination.json; None where there is none, or none that can be read."""
    try:
        found = json.loads((run / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    dropped = [pair for pair in _rows(found, "pairs") if pair.get("action") == "drop"]
    left_out = found.get("left_out")
    return Contamination(
        off=found.get("settings") is None,
        table=_table(_rows(found, "compared")),
        left_out=len(left_out) if isinstance(left_out, list) else 0,
        pairs=tuple(_pair(pair) for pair in dropped[:MOST]),
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    kinds = list(dict.fromkeys(kind for row in rows for kind in section(row, "found")))
    return Table(
        ("evaluation set", "questions", *kinds),
        tuple(
            (
                str(row.get("task", "")),
                _count(number(row, "questions")),
                *(_count(number(section(row, "found"), kind)) for kind in kinds),
            )
            for row in rows
        ),
    )


def _pair(row: Mapping[str, Any]) -> Pair:
    similarity = number(row, "similarity")
    return Pair(
        kind=str(row.get("kind", "")),
        similarity="" if similarity is None else f"{similarity:.2f}",
        train=f"{row.get('train_id', '')}: {row.get('train_question', '')}",
        evaluation=f"{row.get('evaluation_id', '')}: {row.get('evaluation_question', '')}",
        answers=(str(row.get("train_answer", "")), str(row.get("evaluation_answer", ""))),
    )


def _rows(found: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    rows = found.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
