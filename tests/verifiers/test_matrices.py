"""Matrices that are worked out: what they may cost."""

import time

import pytest

from verifiers import Outcome, verify

MATRIX = "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}"


def nested(power: str, times: int) -> str:
    return "\\left(" * times + MATRIX + f"\\right)^{{{power}}}" * times


@pytest.mark.parametrize("response", [MATRIX * 16, nested("4", 8), nested("-1", 8)])
def test_entries_do_not_grow_without_bound(response: str) -> None:
    started = time.perf_counter()
    verdict = verify(f"\\boxed{{{response}}}", MATRIX)
    assert verdict.outcome in (Outcome.INCORRECT, Outcome.TIMEOUT)
    assert time.perf_counter() - started < 5


def test_short_products_and_powers_are_worked_out() -> None:
    cubed = "\\begin{pmatrix}37&54\\\\81&118\\end{pmatrix}"
    assert verify(MATRIX * 3, cubed).correct
    assert verify(f"{MATRIX}^3", cubed).correct
    assert verify(nested("-1", 2), MATRIX).correct
