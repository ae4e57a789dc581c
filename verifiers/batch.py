"""Verifying many pairs: the verdicts of ``verify``, in order, with every core at work.

Most pairs are decided by the cheap stages. They run here for as long as starting workers would
take; the rest of a large input is cut into chunks for the worker processes. What is then left open
goes to the symbolic stage row by row, each row under its own deadline, as many at a time as there
are workers.
"""

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Final

from verifiers import conventions, pool
from verifiers.check import verify, verify_cheaply
from verifiers.frames import FrameError
from verifiers.policy import STRICT, Policy
from verifiers.spread import IN_PROCESS_SECONDS, spread
from verifiers.verdict import GoldError, Outcome, Verdict

CHUNK_ROWS: Final = 500
_CHUNK_SECONDS: Final = 60.0

Pair = tuple[str, str]


class UnfitOption(ValueError):
    """Workers or seconds with which nothing can be verified."""


class RowGoldError(GoldError):
    """A gold answer among many that cannot be read; ``row`` is its place, from 0."""

    def __init__(self, gold: str, why: str, row: int) -> None:
        super().__init__(gold, f"row {row}: {why}")
        self.row = row


def verify_many(
    pairs: Iterable[Pair],
    *,
    convention: str = "math",
    policy: Policy = STRICT,
    timeout: float = 0.8,
    workers: int | None = None,
) -> list[Verdict]:
    """Verify (response, answer) pairs.

    Args:
        pairs: responses with their gold answers, as ``verify`` takes them.
        convention: how the benchmark states answers, a file of `verifiers/conventions`.
        policy: which differences are forgiven.
        timeout: seconds that the symbolic stage may take for one row.
        workers: how many worker processes are used at a time; by default, and at most, as many as
            the shared pool has (one a core).

    Returns:
        One verdict a pair, in the order of the pairs.

    Raises:
        RowGoldError: a gold answer cannot be read; it names the first such row, from 0.
        TypeError: a row is not a pair of texts.
        UnknownConvention: no convention has that name.
        UnfitOption: fewer than one worker, or a timeout that is no positive number.
    """
    require(convention, timeout, workers)
    rows = [_checked(index, pair) for index, pair in enumerate(pairs)]
    threads = ThreadPoolExecutor(min(workers or 10**6, pool.shared_pool().size))
    try:
        verdicts = _cheap_stages(rows, convention, policy, threads)
        left = [index for index, verdict in enumerate(verdicts) if verdict is None]

        def finish(index: int) -> Verdict:
            response, answer = rows[index]
            try:
                return verify(
                    response, answer, convention=convention, policy=policy, timeout=timeout
                )
            except GoldError as error:
                raise RowGoldError(error.gold, error.why, index) from error

        finished = dict(zip(left, threads.map(finish, left), strict=True))
    finally:
        threads.shutdown(cancel_futures=True)
    return [finished[i] if verdict is None else verdict for i, verdict in enumerate(verdicts)]


def require(convention: str, timeout: float, workers: int | None) -> None:
    """Refuse options with which no pair can be verified, as ``verify_many`` does."""
    conventions.load(convention)
    if workers is not None and workers < 1:
        raise UnfitOption(f"workers is {workers}: at least one was expected")
    if not (math.isfinite(timeout) and timeout > 0):
        raise UnfitOption(f"timeout is {timeout}: a positive number of seconds was expected")


def _checked(index: int, pair: object) -> Pair:
    match pair:
        case (str(response), str(answer)):
            return response, answer
        case _:
            parts = pair if isinstance(pair, tuple | list) else [pair]
            found = ", ".join(type(part).__name__ for part in parts)
            raise TypeError(
                f"row {index}: a pair (response, answer) of two texts was expected, not {found}"
            )


def _cheap_stages(
    rows: list[Pair], convention: str, policy: Policy, threads: ThreadPoolExecutor
) -> list[Verdict | None]:
    """What the cheap stages say of each row; None where they say nothing, or the gold is bad."""
    return spread(
        rows,
        lambda row: _cheaply(row, convention, policy),
        lambda chunk: _in_worker(chunk, convention, policy),
        threads,
        seconds=IN_PROCESS_SECONDS,
        chunk_rows=CHUNK_ROWS,
        length=_length,
    )


def _cheaply(row: Pair, convention: str, policy: Policy) -> Verdict | None:
    try:
        return verify_cheaply(*row, convention=convention, policy=policy)
    except GoldError:
        # Said by the second pass, which knows the row's number.
        return None


def _length(row: Pair) -> int:
    return len(row[0]) + len(row[1])


def _in_worker(chunk: list[Pair], convention: str, policy: Policy) -> list[Verdict | None]:
    try:
        reply = pool.call(
            "verifiers.batch:judge_chunk", chunk, convention, asdict(policy), timeout=_CHUNK_SECONDS
        )
    except FrameError:
        # Too long to send: judged here, where the caps on size end it early.
        return [_cheaply(row, convention, policy) for row in chunk]
    except (pool.DeadlineExceeded, pool.WorkerCrashed) as error:
        if len(chunk) == 1:
            return [Verdict(Outcome.TIMEOUT, None, str(error))]
        # One row stopped the worker: only it shall pay.
        return [verdict for row in chunk for verdict in _in_worker([row], convention, policy)]
    if not isinstance(reply, list) or len(reply) != len(chunk):
        raise pool.WorkerCrashed(f"{len(chunk)} verdicts were expected from a worker")
    return [_decode(item) for item in reply]


def judge_chunk(
    chunk: list[Pair], convention: str, policy: dict[str, Any]
) -> list[tuple[str, str | None, str] | None]:
    """What runs in a worker: the cheap stages over some rows, as plain data."""
    read = Policy(**policy)
    verdicts = [_cheaply((row[0], row[1]), convention, read) for row in chunk]
    return [None if v is None else (v.outcome.value, v.extracted, v.reason) for v in verdicts]


def _decode(item: object) -> Verdict | None:
    match item:
        case None:
            return None
        case [str(outcome), str() | None as extracted, str(reason)]:
            return Verdict(Outcome(outcome), extracted, reason)
        case _:
            raise pool.WorkerCrashed("a verdict was expected from a worker")
