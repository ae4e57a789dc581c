"""The expensive comparison, run in a worker process under a deadline."""

from __future__ import annotations

from verifiers.policy import Policy


def compare_symbolic(candidate: str, gold: str, policy: Policy) -> bool:
    """Whether two answers are equal, decided with sympy."""
    return False
