"""Checking the steps of many solutions: what ``check_spans`` finds, with every core at work."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from verifiers import pool
from verifiers.frames import FrameError
from verifiers.spread import IN_PROCESS_SECONDS, spread
from verifiers.steps.check import check_spans
from verifiers.steps.records import StepOutcome

CHUNK_ROWS: Final = 64
_CHUNK_SECONDS: Final = 60.0

Cut = tuple[str, tuple[int, ...]]
"""A text and its ends."""


def check_many(texts: Sequence[str], ends: Sequence[Sequence[int]]) -> list[list[StepOutcome]]:
    """Judge the steps of many solutions; solutions that come again are checked once.

    Args:
        texts: the solutions.
        ends: where each is cut, as ``check_spans`` takes it.

    Returns:
        The outcomes of each solution's steps, in the order of the solutions.

    Raises:
        ValueError: ends are not strictly increasing or lie outside their text.
    """
    cuts = [(text, tuple(cut)) for text, cut in zip(texts, ends, strict=True)]
    distinct = list(dict.fromkeys(cuts))
    with ThreadPoolExecutor(pool.shared_pool().size) as threads:
        outcomes = spread(
            distinct,
            _outcomes,
            _in_worker,
            threads,
            seconds=IN_PROCESS_SECONDS,
            chunk_rows=CHUNK_ROWS,
            length=lambda cut: len(cut[0]),
        )
    found = dict(zip(distinct, outcomes, strict=True))
    return [found[cut] for cut in cuts]


def _outcomes(cut: Cut) -> list[StepOutcome]:
    return [verdict.outcome for verdict in check_spans(*cut)]


def _in_worker(chunk: list[Cut]) -> list[list[StepOutcome]]:
    try:
        reply = pool.call("verifiers.steps.many:check_chunk", chunk, timeout=_CHUNK_SECONDS)
    except (pool.PoolError, FrameError):
        # Without a worker, or too long to send. Wrong ends raise here with their own message.
        return [_outcomes(cut) for cut in chunk]
    if not isinstance(reply, list) or len(reply) != len(chunk):
        raise pool.WorkerCrashed(f"the outcomes of {len(chunk)} solutions were expected")
    return [[StepOutcome(outcome) for outcome in outcomes] for outcomes in reply]


def check_chunk(chunk: list[Cut]) -> list[list[str]]:
    """What runs in a worker: the steps of some solutions, as plain data."""
    return [[outcome.value for outcome in _outcomes((text, ends))] for text, ends in chunk]
