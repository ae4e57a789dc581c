"""The symbolic stage behind the pool's walls: sympy never runs in the caller's process."""

import threading
from dataclasses import asdict
from typing import Any

from verifiers.policy import Policy
from verifiers.verdict import GoldError, Outcome, ParseError, Verdict


def judge(candidate: str, gold: str, policy: Policy, timeout: float) -> Verdict:
    """The verdict of ``verifiers.symbolic`` on two answers, reached in a worker process.

    Past ``timeout`` seconds, or when the worker dies or runs out of memory, it is TIMEOUT.

    Raises:
        GoldError: the gold cannot be read.
    """
    # Imported here: subprocess costs more than most verdicts need.
    from verifiers import pool

    try:
        same = pool.call(
            "verifiers.isolated:compare", candidate, gold, asdict(policy), timeout=timeout
        )
    except pool.DeadlineExceeded:
        return Verdict(Outcome.TIMEOUT, candidate, f"no result within {timeout:g} s")
    except pool.WorkerCrashed as error:
        return Verdict(Outcome.TIMEOUT, candidate, str(error))
    except pool.FunctionRaised as error:
        if error.kind == GoldError.__name__:
            raise GoldError(gold, str(error)) from error
        if error.kind == ParseError.__name__:
            return Verdict(Outcome.UNPARSED, candidate, str(error))
        return Verdict(Outcome.UNPARSED, candidate, f"the symbolic stage failed: {error}")
    return Verdict(Outcome.CORRECT if same is True else Outcome.INCORRECT, candidate, "symbolic")


def start_ahead() -> None:
    """Start a worker in the background, the first time only: some later pair may need it."""
    if not _started:
        _started.append(True)
        threading.Thread(target=_start, name="verifiers-start", daemon=True).start()


_started: list[bool] = []


def _start() -> None:
    from verifiers import pool

    pool.shared_pool().warm_up()


def compare(candidate: str, gold: str, policy: dict[str, Any]) -> bool:
    """What runs in the worker; the policy arrives as its fields."""
    from verifiers.symbolic import compare_symbolic

    return compare_symbolic(candidate, gold, Policy(**policy))


def rehearse() -> None:
    """Run sympy's slow starters once: a worker's first real pair must not pay for them."""
    policy = asdict(Policy())
    for candidate, gold in (
        (r"\int_0^1 x^2 dx", "1/3"),
        (r"\sum_{k=1}^{n} k", "n(n+1)/2"),
        (r"\lim_{x\to 0} \frac{1-\cos x}{x^2}", "1/2"),
    ):
        compare(candidate, gold, policy)
