"""One benchmark's answer convention a file, found by its name.

A convention is a module here with `extract(text: str) -> Extracted`: where, in a completion
whose thoughts and later turns are already cut away, the benchmark's answer stands. Of a completion
with `<answer>` tags it gets the last ones and what they hold (`verifiers.extraction.visible`).
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os
import pkgutil
from collections.abc import Callable
from typing import cast

from verifiers.extraction import Extracted


class UnknownConvention(ValueError):
    """A name that no convention has; the message lists the known ones."""


class BrokenConvention(ValueError):
    """A convention's file that cannot be imported, or whose `extract` is none."""


def names() -> list[str]:
    """The known conventions, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


for _folder in os.environ.get("ITERATIVE_GRPO_PLUGINS", "").split(os.pathsep):
    if _folder:  # a folder of one's own, laid out as this repository (`iterative_grpo.plugins`)
        from pathlib import Path

        __path__.append(str(Path(_folder, *__name__.split("."))))


@functools.lru_cache(maxsize=64)
def load(name: str) -> Callable[[str], Extracted]:
    """The `extract` function of the convention called `name`; `-` and `_` are the same.

    Raises UnknownConvention, listing the known names, where there is no such convention, and
    BrokenConvention for a file that cannot be used.
    """
    known, written = names(), name.replace("-", "_")
    if written not in known:
        near = difflib.get_close_matches(written.lower(), known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownConvention(
            f"unknown convention {name!r}.{hint} Expected one of {', '.join(known)}"
        )
    try:
        extract = importlib.import_module(f"{__name__}.{written}").extract
        nothing = extract("")
    except Exception as error:
        raise BrokenConvention(
            f"convention {name!r} cannot be used: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(nothing, Extracted):
        raise BrokenConvention(
            f"convention {name!r}: extract('') returned {nothing!r}, expected an Extracted"
        )
    return cast(Callable[[str], Extracted], extract)
