"""Where the time goes: seconds and tokens by part of the work.

    with timing.clock() as clock:
        with timing.part("score") as spent:
            ...
            spent.tokens += 128
    clock.parts["score"]

A part that opens inside of another stops the outer one's time until it ends, so that parts add up
and never overlap. On a GPU the borders of parts wait for its kernels, which would otherwise count
for whoever looks at their results first.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import ParamSpec

from iterative_grpo.types import Completion

WORK = ("generate", "verify", "score", "label", "reference", "forward-backward", "optimizer")
"""Generation, scoring and training: what an iteration is for. All else is outside of it."""

INPUT_OUTPUT = "input/output"
"""Reading and writing: data, models, tokens of prompts, libraries."""

OTHER = "other"
"""What no part was opened for."""


@dataclass(slots=True)
class Spent:
    """Seconds of a part, and the tokens that it worked on where they are counted."""

    seconds: float = 0.0
    tokens: int = 0


class Clock:
    """Adds up what each part took; `parts` is in the order of their first opening."""

    def __init__(self) -> None:
        self.parts: dict[str, Spent] = {}
        self._open: list[Spent] = []
        self._marked = 0.0

    def begin(self, name: str) -> Spent:
        """Open a part; the one that is open now waits until `end`."""
        spent = self.parts.setdefault(name, Spent())
        self._change(spent, *self._open[-1:])
        self._open.append(spent)
        return spent

    def end(self) -> None:
        """Close the part that was opened last."""
        self._change(*self._open[-2:])
        self._open.pop()

    def read(self) -> dict[str, Spent]:
        """Return what each part took so far, as copies that later work does not change."""
        self._mark()
        return {name: replace(spent) for name, spent in self.parts.items()}

    def _change(self, *parts: Spent) -> None:
        # From a part to itself there is no border, and a GPU is not waited for.
        if len(parts) < 2 or parts[0] is not parts[1]:
            self._mark()

    def _mark(self) -> None:
        now = _now()
        if self._open:
            self._open[-1].seconds += now - self._marked
        self._marked = now


_current: ContextVar[Clock] = ContextVar("clock")


def current() -> Clock:
    """Return the clock that parts count on here; where there is none, one begins."""
    try:
        return _current.get()
    except LookupError:
        _current.set(Clock())
        return _current.get()


@contextlib.contextmanager
def clock() -> Iterator[Clock]:
    """Count the parts inside on a clock of their own."""
    token = _current.set(Clock())
    try:
        yield _current.get()
    finally:
        _current.reset(token)


@contextlib.contextmanager
def part(name: str, tokens: int = 0) -> Iterator[Spent]:
    """Count the time inside for a part, with the tokens given and those added to what it yields."""
    running = current()
    spent = running.begin(name)
    spent.tokens += tokens
    try:
        yield spent
    finally:
        running.end()


Arguments = ParamSpec("Arguments")
Groups = list[list[Completion]]


def generation(method: Callable[Arguments, Groups]) -> Callable[Arguments, Groups]:
    """Count an engine's `generate` as generation, with the tokens of its completions."""

    @functools.wraps(method)
    def timed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Groups:
        with part("generate") as spent:
            groups = method(*args, **kwargs)
            spent.tokens += sum(len(c.token_ids) for group in groups for c in group)
        return groups

    return timed


def _now() -> float:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()
