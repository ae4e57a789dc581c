"""What a run says of itself, where a program has put something in a stream's place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipelines import report
from pipelines.progress import Progress
from tests.pipelines.report.synthetic_run import write_run


class Tee:
    """Writes to a list, and knows no more of streams than to write and to flush."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def test_streams_that_only_write_are_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tee = Tee()
    monkeypatch.setattr(sys, "stderr", tee)
    monkeypatch.setattr(sys, "stdout", tee)
    progress = Progress(every=0.0)
    progress.note("begins")
    with progress.bar("steps", 2, "steps") as bar:
        bar.advance()
    print(report.summary(write_run(tmp_path / "run")))
    said = "".join(tee.written)
    assert said.startswith("[ 0:00] begins\n[ 0:00] steps 1/2 steps, ")
    assert str(tmp_path / "run") in said
    assert "\x1b" not in said


def test_where_there_is_no_stream_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as in a process that was started with 2>&-
    progress = Progress(every=0.0)
    progress.note("begins")
    with progress.bar("steps", 2, "steps") as bar:
        bar.advance()
