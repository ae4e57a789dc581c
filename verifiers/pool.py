"""A few persistent worker processes that may be killed: what may blow up runs here.

``call("package.module:function", argument, ..., timeout=1.0)`` runs a function on plain data in a
worker and gives back plain data. At the deadline the worker is killed, whatever it is doing, and
another takes its place; that costs the one call, never its neighbours. No signal is used, so calls
work from any thread. From async code: ``await asyncio.to_thread(pool.call, ...)``.

- Workers start in the background when first needed and one more than is busy is kept ready, up to
  the pool's size. Starting (and importing sympy) never counts against a deadline, nor does waiting
  for a free worker.
- A forked child makes workers of its own; it cannot speak to its parent's.
- Workers end with the process: at a normal exit they are killed, and when the process is killed
  they see their input close, or end themselves a second after their deadline.
"""

import atexit
import math
import os
import threading
import weakref
from typing import Final

from verifiers import frames
from verifiers.process import (
    DeadlineExceeded,
    FunctionRaised,
    PoolError,
    PoolUnusable,
    Worker,
    WorkerCrashed,
)

__all__ = [
    "DeadlineExceeded",
    "FunctionRaised",
    "PoolError",
    "PoolUnusable",
    "WorkerCrashed",
    "WorkerPool",
    "available_cores",
    "call",
    "shared_pool",
]

DEFAULT_MEMORY_BYTES: Final = 1024**3
_MAX_FAILED_STARTS: Final = 3


def available_cores() -> int:
    """How many processor cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class WorkerPool:
    """A bounded number of worker processes. Thread-safe; ``with`` closes it.

    Args:
        size: how many workers may live at once; by default the cores, but at least two, so that a
            killed worker is not waited for.
        memory_bytes: what one worker may take; beyond it the call fails as ``WorkerCrashed``.
        warm: modules that a worker imports ("module") and functions that it runs
            ("module:function") before it says that it is ready.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        warm: tuple[str, ...] = ("verifiers.isolated:rehearse",),
    ) -> None:
        if size is not None and size < 1:
            raise ValueError(f"size is {size}: a pool needs at least one worker")
        self._size = size if size is not None else max(2, available_cores())
        self._memory_bytes = memory_bytes
        self._warm = warm
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._closed = False
        self._reset()
        # A worker's pipes and threads belong to the process that made them.
        if hasattr(os, "register_at_fork"):
            this = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _forget_parent(this()))
        atexit.register(self.close)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """How many workers may live at once."""
        return self._size

    def call(self, function: str, *args: object, timeout: float) -> object:
        """Run ``function`` ("package.module:name") on ``args`` in a worker.

        Args:
            function: what to run; it is imported in the worker by its name.
            args: plain data that JSON can carry; tuples arrive as lists.
            timeout: seconds the function may run, from when the worker has the request.

        Returns:
            What the function returned, as JSON carries it.

        Raises:
            ValueError: the timeout is not a positive number.
            frames.FrameError: the arguments are not plain data, or too long.
            DeadlineExceeded, WorkerCrashed, FunctionRaised, PoolUnusable: see there.
        """
        if not (math.isfinite(timeout) and timeout > 0):
            raise ValueError(f"timeout is {timeout}: a positive number of seconds was expected")
        request = frames.encode([function, args, timeout])
        worker = self._take()
        try:
            reply = worker.ask(request, timeout, self._memory_bytes)
        except BaseException:
            # Also on Ctrl-C: the worker still has the question, its answer would be the next one's.
            self._discard(worker)
            raise
        match reply:
            case ["value", value]:
                self._give_back(worker)
                return value
            case ["raised", str(kind), str(message)]:
                self._give_back(worker)
                raise FunctionRaised(kind, message)
            case _:
                # Out of memory: what a failed allocation left behind is not worth keeping.
                self._discard(worker)
                raise WorkerCrashed(f"{function}: the worker ran out of memory")

    def warm_up(self, count: int = 1) -> None:
        """Start ``count`` workers in the background (at most the pool's size); does not wait."""
        with self._changed:
            while len(self._workers) < min(count, self._size):
                self._start_one()

    def close(self) -> None:
        """Kill all workers: calls in flight fail as WorkerCrashed, later ones as PoolUnusable."""
        with self._changed:
            self._closed = True
            workers, self._workers, self._idle = self._workers, [], []
            self._changed.notify_all()
        for worker in workers:
            worker.kill()
        atexit.unregister(self.close)

    def process_ids(self) -> list[int]:
        """The workers' process ids, those that are starting left out."""
        with self._changed:
            return [worker.pid for worker in self._workers if worker.pid is not None]

    def forget_parent(self) -> None:
        """In a forked child: let go of the parent's workers, so that calls start new ones."""
        for worker in self._workers:
            worker.abandon()
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._workers, self._idle = [], []
        self._starting = 0
        self._waiting = 0
        self._failed_starts = 0
        self._last_failure = ""

    def _start_enough(self) -> None:
        """Start workers for all who wait and one to spare; the lock is held."""
        while (
            len(self._workers) < self._size
            and len(self._idle) + self._starting < self._waiting + 1
            and self._failed_starts < _MAX_FAILED_STARTS
        ):
            self._start_one()

    def _start_one(self) -> None:
        self._starting += 1
        self._workers.append(Worker(self._memory_bytes, self._warm, self._on_started))

    def _on_started(self, worker: Worker, failure: str | None) -> None:
        with self._changed:
            self._starting -= 1
            if failure is None:
                self._failed_starts = 0
                if worker in self._workers:
                    self._idle.append(worker)
            else:
                self._failed_starts += 1
                self._last_failure = failure
                if worker in self._workers:
                    self._workers.remove(worker)
            self._changed.notify_all()

    def _take(self) -> Worker:
        with self._changed:
            if not self._workers:
                self._failed_starts = 0
            self._waiting += 1
            try:
                while True:
                    if self._closed:
                        raise PoolUnusable("the pool is closed")
                    self._drop_dead()
                    self._start_enough()
                    if self._idle:
                        return self._idle.pop()
                    if not self._workers:
                        raise PoolUnusable(f"workers cannot start: {self._last_failure}")
                    self._changed.wait()
            finally:
                self._waiting -= 1

    def _drop_dead(self) -> None:
        """Forget idle workers that something else killed: their death is nobody's verdict."""
        for worker in [worker for worker in self._idle if not worker.alive()]:
            self._idle.remove(worker)
            self._workers.remove(worker)
            worker.kill()

    def _give_back(self, worker: Worker) -> None:
        with self._changed:
            if worker in self._workers:
                self._idle.append(worker)
            self._changed.notify()

    def _discard(self, worker: Worker) -> None:
        with self._changed:
            if worker in self._workers:
                self._workers.remove(worker)
            if not self._closed:
                self._start_enough()
            self._changed.notify()
        worker.kill()


def _forget_parent(pool: WorkerPool | None) -> None:
    if pool is not None:
        pool.forget_parent()


_shared: dict[str, WorkerPool] = {}


def shared_pool() -> WorkerPool:
    """The pool that ``call`` uses, made when first asked for; no worker starts before a call."""
    if "pool" not in _shared:
        # setdefault is atomic: of two threads that come here at once, both get the same pool.
        _shared.setdefault("pool", WorkerPool())
    return _shared["pool"]


def call(function: str, *args: object, timeout: float) -> object:
    """Run a function on plain data in a worker of the shared pool; see ``WorkerPool.call``."""
    return shared_pool().call(function, *args, timeout=timeout)
