"""What `splitter_options`, `credit_options` and the like hand to their plug-ins."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pipelines import keywords
from pipelines.keywords import UnknownField


def arguments(
    key: str, given: Mapping[str, Any], taker: Callable[..., Any], who: str
) -> dict[str, Any]:
    """Return options as the types that a plug-in annotates: what it takes and has a default for.

    Raises UnknownField for what it does not take, UnfitValue for values that do not fit.
    """
    if not given:
        return {}
    hints = typing.get_type_hints(taker.__init__ if inspect.isclass(taker) else taker)
    known = {
        name: hints.get(name, Any)
        for name, parameter in inspect.signature(taker).parameters.items()
        if parameter.default is not parameter.empty
    }
    return keywords.typed(key, check(key, given, known, who), known)


def recorded(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return options as a phase's settings hold them.

    None without any, which counts as absent: manifests of runs that knew of no options stay equal.
    """
    return dict(given) or None


def check(
    key: str, given: Mapping[str, Any], known: Mapping[str, Any], who: str
) -> Mapping[str, Any]:
    """Return the options; UnknownField for one that is not known, with the known ones."""
    for name in given:
        if name not in known:
            raise UnknownField(
                f"{key}.{name}: {who} has no such option.{keywords.hint(name, known)} "
                f"Its options: {', '.join(known) or 'none'}"
            )
    return given
