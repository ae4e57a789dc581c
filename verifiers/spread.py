"""Many rows, done here for as long as workers would take to start, the others by the workers."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

IN_PROCESS_SECONDS: Final = 0.5
"""How long rows are done here before the others go to workers: a worker's start."""

CHUNK_CHARACTERS: Final = 1_000_000

Row = TypeVar("Row")
Result = TypeVar("Result")


def spread(
    rows: Sequence[Row],
    here: Callable[[Row], Result],
    away: Callable[[list[Row]], list[Result]],
    threads: ThreadPoolExecutor,
    *,
    seconds: float,
    chunk_rows: int,
    length: Callable[[Row], int],
) -> list[Result]:
    """Return one result a row, in the order of the rows.

    Args:
        rows: what is to be done.
        here: does one of them in this process.
        away: has a worker do some of them.
        threads: wait for the workers.
        seconds: how long rows are done here first.
        chunk_rows: rows that a worker gets at once, at most.
        length: the characters of a row; a worker gets about `CHUNK_CHARACTERS` at once.
    """
    done: list[Result] = []
    end = time.monotonic() + seconds
    while len(done) < len(rows) and time.monotonic() < end:
        done.append(here(rows[len(done)]))
    for results in threads.map(away, _chunks(rows[len(done) :], chunk_rows, length)):
        done += results
    return done


def _chunks(rows: Sequence[Row], chunk_rows: int, length: Callable[[Row], int]) -> list[list[Row]]:
    chunks: list[list[Row]] = []
    characters = 0
    for row in rows:
        full = not chunks or len(chunks[-1]) >= chunk_rows or characters > CHUNK_CHARACTERS
        if full:
            chunks.append([])
            characters = 0
        chunks[-1].append(row)
        characters += length(row)
    return chunks
