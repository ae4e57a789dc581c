"""The disagreement ledger: where reward model and verifier agree, and samples of each cell.

Of the four cells, "liked, wrong" is how reward hacking begins. A bounded number of samples of every
cell is kept by reservoir sampling, so that the file stays small in a long run; the samples of the
two cells of disagreement are worth labelling next.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1
THRESHOLD = 0.5
"""The score of the whole from which the reward model likes an output."""
CELLS = ("liked right", "liked wrong", "disliked right", "disliked wrong")
DISAGREEMENT = ("liked wrong", "disliked right")


@dataclass(frozen=True, slots=True)
class Judgement:
    """One output with the reward model's score of the whole and the verifier's verdict."""

    problem_id: str
    text: str
    score: float
    correct: bool
    step: int

    @property
    def cell(self) -> str:
        """The cell that the output falls into."""
        liked = "liked" if self.score >= THRESHOLD else "disliked"
        return f"{liked} {'right' if self.correct else 'wrong'}"


class Ledger:
    """Counts the four cells and keeps up to `capacity` samples of each."""

    def __init__(self, *, capacity: int = 50, seed: int = 0) -> None:
        if capacity < 1:
            raise ValueError(f"ledger capacity is {capacity}, must be at least 1")
        self.capacity = capacity
        self.counts = dict.fromkeys(CELLS, 0)
        self._samples: dict[str, list[Judgement]] = {cell: [] for cell in CELLS}
        self._generator = np.random.default_rng(seed)

    def add(self, judgements: Iterable[Judgement]) -> None:
        """Count outputs; each of a cell's outputs so far is kept with equal chance."""
        for judgement in judgements:
            cell = judgement.cell
            self.counts[cell] += 1
            kept = self._samples[cell]
            if len(kept) < self.capacity:
                kept.append(judgement)
            else:
                place = int(self._generator.integers(0, self.counts[cell]))
                if place < self.capacity:
                    kept[place] = judgement

    def samples(self, cell: str) -> tuple[Judgement, ...]:
        """Return the kept samples of a cell."""
        if cell not in CELLS:
            raise ValueError(f"unknown cell {cell!r}; known: {', '.join(CELLS)}")
        return tuple(self._samples[cell])

    def write(self, path: Path) -> None:
        """Write counts and samples as JSON Lines, synced: a header, then one line a sample."""
        header: dict[str, Any] = {
            "version": VERSION,
            "counts": self.counts,
            "threshold": THRESHOLD,
        }
        with path.open("w", encoding="ascii", newline="\n") as file:
            file.write(json.dumps(header) + "\n")
            for judgement in (kept for cell in CELLS for kept in self._samples[cell]):
                file.write(json.dumps(asdict(judgement)) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_ledger(path: Path) -> Iterator[Judgement]:
    """Yield the samples that a ledger wrote; ValueError with file and line if one is broken."""
    with path.open(encoding="ascii") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
                if number == 1:
                    version = row["version"]
                    if version > VERSION:
                        raise ValueError(
                            f"written in format {version}, this program reads up to {VERSION}"
                        )
                    continue
                yield Judgement(**row)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{number}: not a line of a ledger ({error})") from error


def disputed(path: Path) -> list[str]:
    """Return the problems of a ledger's disagreements, those with most kept samples first."""
    counts = Counter(kept.problem_id for kept in read_ledger(path) if kept.cell in DISAGREEMENT)
    return [problem for problem, _ in counts.most_common()]
