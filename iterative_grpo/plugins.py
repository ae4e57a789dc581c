"""One-file plug-ins, found by name: a folder of modules is the list of choices.

`find("iterative_grpo.advantages", "sum")` imports `iterative_grpo/advantages/sum.py`. Nothing is
registered anywhere: to add a choice, add a file. Names are spelt with `_` in files and may be
spelt with `-` in configurations.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
from types import ModuleType


class UnknownName(ValueError):
    """A name that no plug-in of the folder has; the message lists the known ones."""


class BrokenPlugin(ValueError):
    """A plug-in's file that cannot be imported, or that lacks what its folder's files have."""


def names(package: str) -> list[str]:
    """Return the names of the plug-ins in a package, without importing them."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ValueError(f"{package} is not a package of plug-ins")
    found = pkgutil.iter_modules(spec.submodule_search_locations)
    return sorted(module.name for module in found if not module.name.startswith("_"))


def check(package: str, name: str, kind: str) -> str:
    """Return the plug-in's file name for `name`, or raise `UnknownName` with the known ones."""
    canonical = name.replace("-", "_")
    # What was imported before need not be looked for again: listing a folder takes a millisecond.
    imported = canonical.isidentifier() and f"{package}.{canonical}" in sys.modules
    if imported and not canonical.startswith("_"):
        return canonical
    known = names(package)
    if canonical in known:
        return canonical
    near = difflib.get_close_matches(canonical.lower(), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownName(f"unknown {kind} {name!r}.{hint} Known: {', '.join(known)}.")


def find(package: str, name: str, kind: str = "name", needs: str | None = None) -> ModuleType:
    """Import and return the plug-in module called `name`, which has the attribute `needs`.

    Raises UnknownName, or BrokenPlugin with the file and what is wrong with it.
    """
    module = f"{package}.{check(package, name, kind)}"
    try:
        found = importlib.import_module(module)
    except Exception as error:
        spec = importlib.util.find_spec(module)
        raise BrokenPlugin(
            f"{kind} {name}: {spec and spec.origin} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if needs is not None and not hasattr(found, needs):
        raise BrokenPlugin(f"{kind} {name}: {found.__file__} has no {needs} (CONTRIBUTING.md)")
    return found
