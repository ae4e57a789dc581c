"""One benchmark's answer convention a file, found by its name.

A convention is a module here with `extract(text: str) -> Extracted`: where, in a completion
whose thoughts and later turns are already cut away, the benchmark's answer stands.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import cast

from verifiers.extraction import Extracted


class UnknownConvention(ValueError):
    """A name that no convention has; the message lists the known ones."""


def names() -> list[str]:
    """The known conventions, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@functools.lru_cache(maxsize=64)
def load(name: str) -> Callable[[str], Extracted]:
    """The `extract` function of the convention called `name`; `-` and `_` are the same.

    Raises UnknownConvention, listing the known names, where there is no such convention.
    """
    known, written = names(), name.replace("-", "_")
    if written not in known:
        near = difflib.get_close_matches(written.lower(), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownConvention(
            f"unknown convention {name!r}.{hint} Expected one of {', '.join(known)}"
        )
    module = importlib.import_module(f"{__name__}.{written}")
    return cast(Callable[[str], Extracted], module.extract)
