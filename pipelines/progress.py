"""Progress on the terminal: a bar with rate and time left where there is a terminal, else a line
now and then. Nothing scrolls that is not information."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol, TextIO


def is_terminal(stream: object) -> bool:
    """Whether a stream is a terminal; what a program puts in a stream's place need not say so."""
    return bool(getattr(stream, "isatty", bool)())


class Bar(Protocol):
    """Counts work that is done."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count `amount` more, and show `note` beside the bar."""
        ...


class Progress:
    """Shows what a run is doing. `quiet` shows nothing at all."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, every: float = 15.0):
        """Write to `stream` (standard error if None); without a terminal, every so many seconds."""
        self._stream = stream or sys.stderr
        self._quiet = quiet or self._stream is None  # as Python has it where the caller closed it
        self._every = every
        self._started = time.perf_counter()

    def note(self, text: str) -> None:
        """Show one line of information, with the time since the start."""
        if not self._quiet:
            minutes, seconds = divmod(int(time.perf_counter() - self._started), 60)
            self._stream.write(f"{self._erase()}[{minutes:2d}:{seconds:02d}] {text}\n")
            self._stream.flush()

    @contextlib.contextmanager
    def bar(self, label: str, total: float, unit: str) -> Iterator[Bar]:
        """Show progress towards `total` of `unit` while the context is open."""
        bar = _Bar(self, label, total, unit)
        try:
            yield bar
        finally:
            bar.close()

    def _erase(self) -> str:
        return "\r\x1b[K" if is_terminal(self._stream) else ""

    def show(self, line: str, *, last_shown: float, force: bool) -> float:
        """Show a state that later ones replace; return when one was last shown."""
        now = time.perf_counter()
        if self._quiet:
            return now
        if is_terminal(self._stream):
            if force or now - last_shown >= 0.1:
                self._stream.write(f"{self._erase()}{line}"[:200])
                self._stream.flush()
                return now
        elif now - last_shown >= self._every:
            self.note(line.strip())
            return now
        return last_shown

    def clear(self) -> None:
        """Take the replaceable state off the terminal."""
        if not self._quiet and is_terminal(self._stream):
            self._stream.write(self._erase())
            self._stream.flush()


class _Bar:
    def __init__(self, progress: Progress, label: str, total: float, unit: str) -> None:
        self._progress, self._label, self._total, self._unit = progress, label, total, unit
        self._done = 0.0
        self._note = ""
        self._started = self._shown = time.perf_counter()

    def advance(self, amount: float = 1, note: str = "") -> None:
        self._done += amount
        self._note = note or self._note
        seconds = time.perf_counter() - self._started
        rate = self._done / seconds if seconds > 0 else 0.0
        left = (self._total - self._done) / rate if rate > 0 else 0.0
        line = (
            f"  {self._label} {self._done:,.0f}/{self._total:,.0f} {self._unit}, "
            f"{rate:,.1f}/s, {_clock(left)} left"
        )
        if self._note:
            line += f", {self._note}"
        self._shown = self._progress.show(
            line, last_shown=self._shown, force=self._done >= self._total
        )

    def close(self) -> None:
        self._progress.clear()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02d}"
