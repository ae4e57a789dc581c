"""Labeled rows on disk while a phase makes them, so that a killed one goes on where it stopped.

A chunk is its rows, one a line, and a line that closes it with its cost. It counts once that line
is whole: rows behind the last one are dropped, and made again. Rows that are made faster than a
disk takes them wait for `EVERY` seconds of work.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from reward_models.types import LabelCost, LabeledSolution, parse, to_json

EVERY = 1.0
"""Seconds of work that a killed phase may lose."""

_CLOSE = b'{"chunk": '


class Journal:
    """The rows that are done and their cost; opening it reads those on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[LabeledSolution] = []
        self.cost = LabelCost()
        if path.exists():
            self._read()
        self._waiting: list[LabeledSolution] = []
        self._spent = LabelCost()
        self._written = time.monotonic()

    def append(self, rows: Sequence[LabeledSolution], cost: LabelCost) -> None:
        """Add rows; where the last were written `EVERY` seconds ago, all are on disk then."""
        self.rows += rows
        self.cost += cost
        self._waiting += rows
        self._spent += cost
        if time.monotonic() - self._written >= EVERY:
            self._write()

    def _write(self) -> None:
        text = "".join(f"{to_json(row)}\n" for row in self._waiting)
        spent = json.dumps(asdict(self._spent))
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("ab") as file:
            file.write(text.encode("ascii") + _CLOSE + spent.encode() + b"}\n")
            file.flush()
            os.fsync(file.fileno())
        self._waiting, self._spent = [], LabelCost()
        self._written = time.monotonic()

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
