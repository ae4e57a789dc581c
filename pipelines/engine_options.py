"""What `engine_options` hands to the engine of a run.

They say how an engine goes about it, with how much memory and which speed-ups, and not what it
samples. No phase's result depends on them: a run that ran out of memory goes on with others.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from iterative_grpo import plugins
from pipelines import keywords, plugin_options
from pipelines.keywords import UnfitValue, UnknownField

DECIDED = {
    "dtype": "policy.dtype and optimize.bf16",
    "graphs": "engine (native_graphs)",
    "trust_remote_code": "policy.trust_remote_code",
}
"""Arguments of engines that other settings decide."""


def arguments(engine: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as the types that the engine's `load` is annotated with.

    Raises UnknownField for what `engine_options` cannot set, UnfitValue for values that do not fit.
    """
    if not given:
        return {}
    module = plugins.find("iterative_grpo.engines", engine, "engine")
    known = taken(module.load)
    for name in given:
        if name in DECIDED:
            raise UnknownField(f"engine_options.{name}: decided by {DECIDED[name]}; set it there")
    plugin_options.check("engine_options", given, known, f"engine {engine}")
    values = keywords.typed("engine_options", given, known)
    if hasattr(module, "check_options"):
        try:
            module.check_options(**values)
        except ValueError as error:
            raise UnfitValue(f"engine_options with engine {engine}: {error}") from None
    return values


def taken(load: Callable[..., Any]) -> dict[str, Any]:
    """Return what may be set, with its types: what an engine's `load` takes by keyword alone."""
    types = typing.get_type_hints(load)
    return {
        name: types.get(name, Any)
        for name, parameter in inspect.signature(load).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in DECIDED
    }
