"""What is measured: our verifier in this process, Math-Verify in workers that can be killed."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from verifiers.pool import DeadlineExceeded, FunctionRaised, WorkerCrashed, WorkerPool

Answer = Literal["yes", "no", "hang", "error"]


@dataclass(frozen=True, slots=True)
class Judged:
    """One subject's verdict on one row, and the seconds it took."""

    answer: Answer
    seconds: float
    detail: str


Subject = Callable[[str, str, str], Judged]
"""(response, gold, convention) -> Judged."""


def ours(response: str, gold: str, convention: str) -> Judged:
    """``verifiers.verify`` as a caller uses it, in this process."""
    from verifiers import GoldError, verify

    start = time.perf_counter()
    try:
        verdict = verify(response, gold, convention=convention)
    except GoldError as error:
        return Judged("error", time.perf_counter() - start, str(error)[:200])
    seconds = time.perf_counter() - start
    return Judged("yes" if verdict.correct else "no", seconds, verdict.outcome.value)


class MathVerify:
    """Math-Verify in a worker; ``with`` ends it. Its time is taken inside the worker."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._pool = WorkerPool(2, warm=("math_verify",), memory_bytes=4 * 1024**3)

    def __enter__(self) -> "MathVerify":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def __call__(self, response: str, gold: str, convention: str) -> Judged:
        """Judge one row; a worker that had to be killed is a hang."""
        start = time.perf_counter()
        try:
            reply = self._pool.call(
                "benchmarks.verifier_subjects:math_verify", response, gold, timeout=self._limit
            )
        except DeadlineExceeded:
            return Judged("hang", time.perf_counter() - start, "killed at the limit")
        except (WorkerCrashed, FunctionRaised) as error:
            return Judged("error", time.perf_counter() - start, str(error)[:200])
        match reply:
            case [bool(same), float(seconds)]:
                return Judged("yes" if same else "no", seconds, "")
        raise TypeError(f"a verdict and its seconds were expected, not {reply!r}")


def math_verify(response: str, gold: str) -> tuple[bool, float]:
    """What runs in the worker: Math-Verify as its README uses it.

    It finds LaTeX only between delimiters, so texts without any get them.
    """
    from math_verify import parse, verify

    start = time.perf_counter()
    same = verify(parse(_delimited(gold)), parse(_delimited(response)))
    return bool(same), time.perf_counter() - start


def _delimited(text: str) -> str:
    bare = "$" not in text and "boxed" not in text and "\n" not in text and len(text) < 200
    return f"${text}$" if bare and "####" not in text else text
