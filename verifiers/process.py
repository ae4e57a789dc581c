"""One worker process, and the thread that starts it and talks to it."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from verifiers import frames
from verifiers.memory import ENFORCED_BY_SYSTEM, resident_bytes

START_SECONDS: Final = 60.0
"""How long a worker may take to start: a cold import of sympy from a slow disk is allowed for."""

_WATCH_SECONDS: Final = 0.1
_BOOT: Final = (
    "import json, sys; path, memory, warm = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from verifiers.worker import main; main(memory, warm)"
)
_HOME: Final = str(Path(__file__).resolve().parents[1])


class PoolError(Exception):
    """A call that gave no value."""


class DeadlineExceeded(PoolError):
    """The call did not end by its deadline; its worker was killed."""


class WorkerCrashed(PoolError):
    """The worker died or ran out of memory during the call."""


class PoolUnusable(PoolError):
    """No worker can be had: the pool is closed, or its processes cannot start here."""


class FunctionRaised(PoolError):
    """The function raised; ``kind`` is the exception's class name, the text is cut to 500."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Worker:
    """A process and its thread.

    The thread does all that may block, so that a caller can stop waiting at its deadline; killing
    the process then unblocks the thread.
    """

    def __init__(
        self,
        memory_bytes: int,
        warm: tuple[str, ...],
        on_started: Callable[["Worker", str | None], None],
    ) -> None:
        self.pid: int | None = None
        # A notebook's path begins with "", which leads elsewhere once its folder was changed.
        self._boot = json.dumps([[*sys.path, _HOME], memory_bytes, warm])
        self._on_started = on_started
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._lock = threading.Lock()
        threading.Thread(target=self._serve, name="verifiers-worker", daemon=True).start()

    def ask(self, request: bytes, timeout: float, memory_bytes: int) -> object:
        """Send a request and wait for its reply until the deadline.

        Raises:
            DeadlineExceeded, WorkerCrashed: the worker must be discarded.
        """
        job = _Job(request)
        self._jobs.put(job)
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                reply = job.reply.get(
                    timeout=max(0.0, left if ENFORCED_BY_SYSTEM else min(left, _WATCH_SECONDS))
                )
            except queue.Empty:
                if time.monotonic() >= deadline:
                    raise DeadlineExceeded(f"no reply within {timeout:g} s") from None
                if self.pid is not None and (resident_bytes(self.pid) or 0) > memory_bytes:
                    raise WorkerCrashed(f"the worker took more than {memory_bytes} bytes") from None
                continue
            if reply is None:
                raise WorkerCrashed("the worker died during the call")
            return reply

    def kill(self) -> None:
        """End the process now, or as soon as it has started."""
        with self._lock:
            self._killed = True
            if self._process is not None:
                self._process.kill()
        self._jobs.put(None)

    def alive(self) -> bool:
        """Whether the process runs; a worker that is starting counts."""
        return self._process is None or self._process.poll() is None

    def abandon(self) -> None:
        """In a forked child: close the inherited pipes; only the parent may hold them open."""
        if self._process is not None:
            # Not this process's child: there is nothing to wait for.
            self._process.returncode = 0
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()

    def _serve(self) -> None:
        try:
            process = self._launch()
        except OSError as error:
            self._on_started(self, str(error))
            return
        with process:
            requests, replies = _descriptors(process)
            failure = self._await_ready(process, replies)
            self._on_started(self, failure)
            while failure is None and (job := self._jobs.get()) is not None:
                try:
                    frames.write(requests, job.request)
                    job.reply.put(frames.read(replies))
                except (EOFError, OSError, frames.FrameError):
                    job.reply.put(None)
                    break
            process.kill()

    def _launch(self) -> subprocess.Popen[bytes]:
        if not sys.executable:
            raise OSError("sys.executable is empty: there is no Python to start workers with")
        process = subprocess.Popen(
            # -P: a file in the current folder must not stand in for a module.
            [sys.executable, "-P", "-c", _BOOT, self._boot],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # sympy's paths depend on the order of sets: the same answer gets the same verdict.
            env={**os.environ, "PYTHONHASHSEED": "0"},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        with self._lock:
            self._process, self.pid = process, process.pid
            if self._killed:
                process.kill()
        return process

    def _await_ready(self, process: subprocess.Popen[bytes], replies: int) -> str | None:
        """Return None once the worker is ready, else why it is not."""
        too_late = threading.Timer(START_SECONDS, process.kill)
        too_late.daemon = True
        too_late.start()
        try:
            hello = frames.read(replies)
        except (EOFError, OSError, frames.FrameError):
            return f"the process {process.args!r} ended before it was ready"
        finally:
            too_late.cancel()
        match hello:
            case ["ready", int(pid)]:
                # In a virtual environment of Windows, Popen's is that of a launcher in between.
                self.pid = pid
                return None
            case ["failed", str(reason)]:
                return reason
            case _:
                return f"an unexpected greeting: {hello!r}"


def _descriptors(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    if process.stdin is None or process.stdout is None:
        raise OSError("the worker was started without pipes")
    return process.stdin.fileno(), process.stdout.fileno()


class _Job:
    """A request and where its reply is put; None stands for a worker that died."""

    __slots__ = ("reply", "request")

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.reply: queue.SimpleQueue[object] = queue.SimpleQueue()
