"""Verifiers for mathematical answers: text in, a verdict out.

`verify(response, answer)` says whether a completion (or a bare answer) states the gold answer;
`verify_many` does it for many pairs on all cores. The package is light to import: sympy and the
worker processes are loaded when a pair first needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from verifiers.batch import verify_many
    from verifiers.check import verify
    from verifiers.policy import EXACT, LENIENT, STRICT, Policy
    from verifiers.verdict import (
        GoldError,
        Outcome,
        ParseError,
        SwappedArgumentsWarning,
        Verdict,
    )

__all__ = [
    "EXACT",
    "LENIENT",
    "STRICT",
    "GoldError",
    "Outcome",
    "ParseError",
    "Policy",
    "SwappedArgumentsWarning",
    "Verdict",
    "verify",
    "verify_many",
]

_HOMES = {
    "EXACT": "policy",
    "LENIENT": "policy",
    "STRICT": "policy",
    "Policy": "policy",
    "GoldError": "verdict",
    "Outcome": "verdict",
    "ParseError": "verdict",
    "SwappedArgumentsWarning": "verdict",
    "Verdict": "verdict",
    "verify": "check",
    "verify_many": "batch",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'verifiers' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"verifiers.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
