"""One benchmark's answer convention a file, found by its name.

A convention is a module here with `extract(text: str) -> Extracted`: where, in a completion
whose thoughts and later turns are already cut away, the benchmark's answer stands.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import cast

from verifiers.extraction import Extracted


def names() -> list[str]:
    """The known conventions, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@functools.lru_cache(maxsize=64)
def load(name: str) -> Callable[[str], Extracted]:
    """The `extract` function of the convention called `name`.

    Raises ValueError, listing the known names, where there is no such convention.
    """
    known = names()
    if name not in known:
        raise ValueError(f"unknown convention {name!r}; expected one of {', '.join(known)}")
    module = importlib.import_module(f"{__name__}.{name}")
    return cast(Callable[[str], Extracted], module.extract)
