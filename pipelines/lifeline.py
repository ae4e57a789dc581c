"""Workers that end with the command that started them, even if it is killed.

The command keeps a named pipe open for writing while a phase runs; each worker waits at its other
end and ends itself when the operating system closes it. The launcher between them hands no open
file to its workers and outlives the command, so neither a file nor a parent can tell them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

LOST = 1
"""Exit code of a worker whose command has gone."""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the workers that `follow` this folder alive, until the context or the process ends.

    Windows has no named pipes in folders; there, workers go on.
    """
    if sys.platform == "win32":
        yield
        return
    os.mkfifo(_pipe(folder), 0o600)
    # Open for both, since opening for writing alone would wait for the first worker.
    end = os.open(_pipe(folder), os.O_RDWR)
    try:
        yield
    finally:
        os.close(end)


def follow(folder: Path) -> None:
    """End this process, whatever it is doing, once nobody holds the folder's pipe any more."""
    if sys.platform == "win32":
        return
    # Without O_NONBLOCK, it would wait for a command that has gone already.
    end = os.open(_pipe(folder), os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(end, True)

    def wait() -> None:
        os.read(end, 1)  # nothing is ever written: it returns when the last writer has gone
        os._exit(LOST)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def _pipe(folder: Path) -> Path:
    return folder / "lifeline"
