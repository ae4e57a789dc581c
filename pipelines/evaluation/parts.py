"""Rows on their way to a task's file: kept through kill -9, joined when all are there.

While a task is being answered, each run of neighbouring questions is one file of
`NAME.parts/BEGIN-END.jsonl`, flushed and named in one step: it is whole or it is not there. So any
number of processes may work on a task, and one that was killed goes on with the questions that no
file covers. `log/` holds what differs between equal evaluations: seconds.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iterative_grpo import timing
from pipelines import json_lines
from pipelines.artifacts import LOG, ArtifactError, read_json, write_bytes, write_json
from pipelines.progress import Progress
from pipelines.world import World

AGAIN = "Move the file away to make its rows again"

Make = Callable[[range], tuple[Sequence[Mapping[str, Any]], Mapping[str, float]]]


class Parts:
    """The finished part of a task's rows; `name` says which, such as gsm8k.test.answers."""

    def __init__(self, folder: Path, name: str) -> None:
        self.whole = folder / f"{name}.jsonl"
        self._seconds = folder / LOG / f"{name}.seconds.json"
        self._folder = folder / f"{name}.parts"
        self._log = folder / LOG / f"{name}.parts"

    def fill(
        self, questions: int, at_once: int, make: Make, place: World, progress: Progress, label: str
    ) -> None:
        """Make the rows that are missing, this process's share of them, and join all.

        Args:
            questions: of the task.
            at_once: questions whose rows are made between two writes at most; fewer where
                processes would not all have as many.
            make: returns the rows of a run of questions, and seconds by what they were spent on.
            place: this process among those at work; all call this together.
            progress: shows how far it is.
            label: what is being done.
        """
        left = sum(map(len, self.missing(questions, questions)))
        rounds = max(1, math.ceil(left / (place.size * at_once)))
        runs = self.missing(questions, max(1, math.ceil(left / (place.size * rounds))))
        place.wait()  # nobody adds parts before everybody has seen the same ones missing
        with progress.bar(label, questions, "questions") as bar:
            bar.advance(questions - sum(map(len, runs)))
            for run in runs[place.rank :: place.size]:
                self.add(run, *make(run))
                bar.advance(len(run))
        place.wait()
        if place.first:
            self.join()
        place.wait()

    def missing(self, questions: int, at_once: int) -> list[range]:
        """Return the runs of questions without rows, each of `at_once` questions at most."""
        if self.whole.exists():
            return []
        runs: list[range] = []
        begin = 0
        for done in [*self._done(), range(questions, questions)]:
            runs += [
                range(start, min(start + at_once, done.start))
                for start in range(begin, done.start, at_once)
            ]
            begin = done.stop
        return runs

    def add(
        self, run: range, rows: Sequence[Mapping[str, Any]], seconds: Mapping[str, float]
    ) -> None:
        """Keep the rows of a run of questions, and the seconds that they took."""
        name = f"{run.start:07d}-{run.stop:07d}"
        for place in (self._folder, self._log):
            place.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with timing.part(timing.INPUT_OUTPUT):
            write_bytes(
                self._folder / f"{name}.jsonl",
                (json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows),
            )
        written = time.perf_counter() - started
        write_json(self._log / f"{name}.json", {**seconds, "write": written})

    def join(self) -> None:
        """Make the task's file of all parts, in the order of the questions."""
        if not self.whole.exists():
            write_json(self._seconds, self._spent())
            names = [f"{run.start:07d}-{run.stop:07d}.jsonl" for run in self._done()]
            write_bytes(self.whole, ((self._folder / name).read_bytes() for name in names))
        # Also those that an earlier process joined but was killed before it had removed.
        for place in (self._folder, self._log):
            shutil.rmtree(place, ignore_errors=True)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the joined file; ArtifactError at one that is damaged."""
        for _, row in json_lines.objects(self.whole, ArtifactError, AGAIN):
            yield row

    def seconds(self) -> dict[str, float]:
        """Return the seconds of the joined rows by what they were spent on, over all processes."""
        return read_json(self._seconds, "it and the rows beside it away to make them again")

    def _done(self) -> list[range]:
        names = sorted(file.stem for file in self._folder.glob("*-*.jsonl"))
        return [range(*map(int, name.split("-"))) for name in names]

    def _spent(self) -> dict[str, float]:
        spent: dict[str, float] = {}
        for file in sorted(self._log.glob("*.json")):
            for what, seconds in read_json(file, "it away to go on without").items():
                spent[what] = spent.get(what, 0.0) + seconds
        return spent
