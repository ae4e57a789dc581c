"""Functions that workers run in the tests of the pool: each misbehaves in one way."""

import faulthandler
import os
import sys
import time
from pathlib import Path


def grow() -> int:
    """Take memory in small pieces until none is left."""
    kept = []
    while True:
        kept.append(bytearray(2**20))


def grow_past_the_limit() -> None:
    """Lift the limit on the address space, take half a gigabyte and stay."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    kept = bytearray(b"x") * 2**29
    time.sleep(60 + len(kept) % 2)


def recurse(depth: int = 0) -> int:
    """Recurse until Python refuses."""
    return recurse(depth + 1) + 1


def print_loudly() -> str:
    """Write to every stream, also past Python's own."""
    print("hello from print")
    sys.stderr.write("hello\n")
    os.write(1, b"\x00\x00\x00\x02{}")
    return f"read {sys.stdin.read()!r}"


def note_and_sleep(file: str, seconds: float) -> None:
    """Say that the call has begun, then wait."""
    Path(file).write_text(str(os.getpid()))
    time.sleep(seconds)


def note_and_hang(file: str, nine: int = 9) -> object:
    """Say that the call has begun, then hold the interpreter lock for hours."""
    Path(file).write_text(str(os.getpid()))
    return nine ** (nine**nine)


def sleep_without_an_alarm(seconds: float) -> None:
    """Take away the clock by which a worker ends itself, then wait."""
    faulthandler.cancel_dump_traceback_later()
    time.sleep(seconds)


def imported() -> list[str]:
    """The top-level modules of this process."""
    return sorted({name.partition(".")[0] for name in sys.modules})


def long_message() -> None:
    """Raise with a message of a megabyte."""
    raise ArithmeticError("x" * 2**20)


def infinite_structure() -> list[object]:
    """A value that no JSON can hold."""
    value: list[object] = []
    value.append(value)
    return value
