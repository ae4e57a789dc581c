"""The symbolic stage in a worker: what comes back, and under which policy."""

import pytest

from verifiers import Outcome, Policy, pool
from verifiers.isolated import judge
from verifiers.memory import ENFORCED_BY_SYSTEM


@pytest.mark.parametrize(
    ("candidate", "gold", "policy", "outcome"),
    [
        ("\\int_0^1 x\\,dx", "\\frac12", Policy(), Outcome.CORRECT),
        ("\\int_0^1 x\\,dx", "\\frac13", Policy(), Outcome.INCORRECT),
        ("\\int_0^{10} x\\,dx", "50\\%", Policy(), Outcome.CORRECT),
        ("\\int_0^{10} x\\,dx", "50\\%", Policy(percent="value"), Outcome.INCORRECT),
        ("x^", "1", Policy(), Outcome.UNPARSED),
    ],
)
def test_the_verdict_is_the_workers(
    candidate: str, gold: str, policy: Policy, outcome: Outcome
) -> None:
    verdict = judge(candidate, gold, policy, timeout=20)
    assert (verdict.outcome, verdict.extracted) == (outcome, candidate)


def test_no_verdict_in_time_says_so() -> None:
    verdict = judge("\\int_0^1 x\\,dx", "\\frac12", Policy(), timeout=1e-6)
    assert (verdict.outcome, verdict.reason) == (Outcome.TIMEOUT, "no result within 1e-06 s")


@pytest.mark.skipif(not ENFORCED_BY_SYSTEM, reason="only Linux enforces RLIMIT_AS")
def test_a_worker_without_memory_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pool.WorkerPool(1, memory_bytes=50 * 2**20, warm=()) as small:  # too little for sympy
        monkeypatch.setitem(pool._shared, "pool", small)
        verdict = judge("\\int_0^1 x\\,dx", "\\frac12", Policy(), timeout=20)
    assert verdict.outcome is Outcome.TIMEOUT
    assert "worker" in verdict.reason
