"""A long run of ever different answers must not grow the process."""

import os

from verifiers.check import verify_cheaply
from verifiers.memory import resident_bytes


def _judge(first: int, count: int) -> None:
    for index in range(first, first + count):
        terms = "+".join(f"{index}x^{{{power}}}" for power in range(60))
        verify_cheaply(f"So it is $\\boxed{{{terms}}}$.", "x + 1")


def test_verdicts_on_different_answers_keep_no_memory() -> None:
    _judge(0, 150)  # what is loaded and cached once
    before = resident_bytes(os.getpid())
    _judge(1_000, 600)
    after = resident_bytes(os.getpid())
    assert before is not None
    assert after is not None
    # 600 parsed answers of 60 terms, kept, are about 17 MB.
    assert after - before < 8 * 2**20, f"{(after - before) / 2**20:.1f} MB"
