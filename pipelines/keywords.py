"""Settings that are keyword arguments of something else, which is what knows their types."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any


class UnknownField(ValueError):
    """A key that its taker does not have, or that another setting decides."""


class UnfitValue(ValueError):
    """A value that its taker refuses."""


def typed(key: str, given: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the setting `key` as the types that their taker annotates.

    YAML reads `1e-8` as a text, where a field is a number it is one. Raises UnfitValue for others.
    """
    if not given:
        return {}
    from pydantic import TypeAdapter, ValidationError

    values = {}
    for name, value in given.items():
        adapter: TypeAdapter[Any] = TypeAdapter(types[name])
        try:
            values[name] = adapter.validate_python(value, strict=not isinstance(value, str))
        except ValidationError as error:
            alone = isinstance(types[name], type) and not typing.get_args(types[name])
            expected = types[name].__name__ if alone else str(types[name]).replace("typing.", "")
            raise UnfitValue(
                f"{key}.{name}: expected {expected}, found {value!r} ({error.errors()[0]['msg']})"
            ) from None
    return values


def hint(name: str, known: Iterable[str]) -> str:
    """Return the known name that was probably meant, as a sentence behind another, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""
