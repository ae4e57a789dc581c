"""What YAML makes of `off` and `none`, turned back into what a setting's user wrote.

YAML 1.1 reads a bare `off` as false, and `none` as a text where `null` is nothing. A setting that
has such a word among its choices gets the word; one that may be nothing takes `none` for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args

from pydantic.fields import FieldInfo


def as_written(raw: Any, fields: Mapping[str, FieldInfo]) -> Any:
    """Return a section's raw values with these words as its fields mean them."""
    if not isinstance(raw, Mapping):
        return raw
    return {
        key: _meant(value, get_args(fields[key].annotation)) if key in fields else value
        for key, value in raw.items()
    }


def _meant(value: Any, choices: tuple[Any, ...]) -> Any:
    if value is False and "off" in choices:
        return "off"
    if (value is False or value is None) and "none" in choices:
        return "none"
    if value == "none" and NoneType in choices and "none" not in choices:
        return None
    return value
