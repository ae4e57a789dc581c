"""Labeled rows on disk while a phase makes them, so that a killed one goes on where it stopped.

A chunk is its rows, one a line, and a line that closes it with its cost. It counts once that line
is whole: rows behind the last one are dropped, and their chunk is made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from reward_models.types import LabelCost, LabeledSolution, parse, to_json

_CLOSE = b'{"chunk": '


class Journal:
    """The rows and the cost of the chunks that are done; opening it reads those on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[LabeledSolution] = []
        self.cost = LabelCost()
        if path.exists():
            self._read()

    def append(self, rows: Sequence[LabeledSolution], cost: LabelCost) -> None:
        """Add a chunk; it is on disk when this returns."""
        self.path.parent.mkdir(exist_ok=True)
        text = "".join(f"{to_json(row)}\n" for row in rows)
        with self.path.open("ab") as file:
            file.write(text.encode("ascii") + _CLOSE + json.dumps(asdict(cost)).encode() + b"}\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows += rows
        self.cost += cost

    def _read(self) -> None:
        open_rows: list[LabeledSolution] = []
        place = whole = 0
        with self.path.open("r+b") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                place += len(line)
                if line.startswith(_CLOSE):
                    self.rows += open_rows
                    self.cost += LabelCost(**json.loads(line)["chunk"])
                    open_rows, whole = [], place
                else:
                    open_rows.append(parse(line, f"{self.path}:{number}"))
            file.truncate(whole)
