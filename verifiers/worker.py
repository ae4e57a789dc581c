"""The worker process: reads one request at a time, answers it, and dies rather than outlive it.

Started by ``verifiers.process`` as ``python -P -c BOOT``; it imports neither the user's main
module nor torch. Three things bound it, none of which needs the interpreter to be responsive:

- the pool kills it at the deadline;
- a C thread of its own (``faulthandler``) ends it a second after the deadline, so that a worker
  that hangs while its parent is killed does not become an orphan;
- the address space is limited by the operating system where it can do that (Linux).

An idle worker ends when its standard input does.
"""

import faulthandler
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from verifiers import frames
from verifiers.memory import limit_address_space

GRACE_SECONDS = 1.0
"""How long after its deadline a worker that nobody killed ends itself."""

MAX_MESSAGE_CHARACTERS = 500
"""How much of an exception's text is sent back."""


def main(memory_bytes: int, warm: list[str]) -> None:
    """Serve requests until standard input ends.

    ``warm`` names modules to import ("module") and functions to run ("module:function") before the
    first frame is sent: ``["ready", pid]``, or ``["failed", message]`` when one cannot be imported.
    """
    # Ctrl-C goes to the whole process group; the pool decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = _private_pipes()
    try:
        for name in warm:
            module, _, rehearsal = name.partition(":")
            imported = importlib.import_module(module)
            if rehearsal:
                getattr(imported, rehearsal)()
    except ImportError as error:
        frames.write(replies, frames.encode(["failed", _message(error)]))
        return
    limit_address_space(memory_bytes)
    with Path(os.devnull).open("w") as nowhere:
        frames.write(replies, frames.encode(["ready", os.getpid()]))
        functions: dict[str, Callable[..., object]] = {}
        while True:
            try:
                request = frames.read(requests)
            except EOFError:
                return
            name, arguments, seconds = _checked(request)
            # Ends the process from a thread that needs no interpreter lock.
            faulthandler.dump_traceback_later(seconds + GRACE_SECONDS, exit=True, file=nowhere)
            reply = _answer(functions, name, arguments)
            faulthandler.cancel_dump_traceback_later()
            frames.write(replies, reply)


def _private_pipes() -> tuple[int, int]:
    """Take the two pipes away from ``sys.stdin`` and ``sys.stdout``: a stray print is no reply."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(requests, os.O_BINARY)
        msvcrt.setmode(replies, os.O_BINARY)
    return requests, replies


def _checked(request: object) -> tuple[str, list[object], float]:
    match request:
        case [str(name), list(arguments), int(seconds) | float(seconds)]:
            return name, arguments, float(seconds)
        case _:
            raise frames.FrameError("a request is [function, arguments, seconds]")


def _answer(
    functions: dict[str, Callable[..., object]], name: str, arguments: list[object]
) -> bytes:
    """Run one function; every way to fail, and building the reply, happens inside the limits."""
    try:
        if name not in functions:
            functions[name] = _resolve(name)
        return frames.encode(["value", functions[name](*arguments)])
    except MemoryError:
        return frames.encode(["memory", "out of memory"])
    # The function is the caller's: whatever it raises is reported under its own name.
    except Exception as error:  # noqa: BLE001 - sent to the caller, nothing is swallowed
        return frames.encode(["raised", type(error).__name__, _message(error)])


def _resolve(name: str) -> Callable[..., object]:
    module, _, attribute = name.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    if not callable(function):
        raise TypeError(f"{name} is not a function")
    return function  # type: ignore[no-any-return]


def _message(error: BaseException) -> str:
    """The exception's text, cut: an exception may carry a whole hostile answer."""
    try:
        return str(error)[:MAX_MESSAGE_CHARACTERS]
    except (ValueError, MemoryError, RecursionError):
        return "(its message cannot be printed)"
