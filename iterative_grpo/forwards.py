"""Modules whose `forward` is not their class's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def plain(module: Any) -> Iterator[None]:
    """Let a module compute by its class's `forward`, whatever it was given: it is back behind."""
    own = vars(module).pop("forward", None)
    try:
        yield
    finally:
        if own is not None:
            module.forward = own


@contextmanager
def replacing(module: Any, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a module do something else instead of its `forward`, which is back on leaving."""
    with plain(module):
        module.forward = forward
        try:
            yield
        finally:
            del module.forward


def replaced(module: Any) -> bool:
    """Whether somebody gave this module a `forward` of its own."""
    return "forward" in vars(module)


def replaced_by_trl(model: Any) -> bool:
    """Whether it is what TRL's trainer gives a policy: its own `forward`, unless asked for a loss.

    It is bound to this very model: a copy would compute with the weights of the original.
    """
    forward = vars(model).get("forward")
    return str(getattr(forward, "__globals__", {}).get("__name__", "")).startswith("trl.")


def copied(model: Any, memo: dict[int, Any] | None = None) -> Any:
    """Return a deep copy that computes with its own weights; what is in `memo` is not copied."""
    made = copy.deepcopy(model, memo)
    for module in made.modules():
        if replaced_by_trl(module):
            del module.forward
    return made
