"""One-file plug-ins, found by name: a folder of modules is the list of choices.

`find("iterative_grpo.advantages", "sum")` imports `iterative_grpo/advantages/sum.py`. Nothing is
registered anywhere: to add a choice, add a file. Names are spelt with `_` in files and may be
spelt with `-` in configurations.

Files of one's own may lie outside of the installed packages: `ITERATIVE_GRPO_PLUGINS` names folders
that are laid out as they are, such as FOLDER/iterative_grpo/advantages/mine.py.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

FOLDERS = "ITERATIVE_GRPO_PLUGINS"
"""The environment variable: folders, parted as in PATH."""


class UnknownName(ValueError):
    """A name that no plug-in of the folder has; the message lists the known ones."""


class BrokenPlugin(ValueError):
    """A plug-in's file that cannot be imported, or that lacks what its folder's files have."""


def names(package: str) -> list[str]:
    """Return the names of the plug-ins in a package, without importing them."""
    # One folder at a time: of several it tells each name once.
    listed = [pkgutil.iter_modules([place]) for place in _places(package)]
    found = Counter(module.name for modules in listed for module in modules)
    for name, files in found.items():
        if files > 1:
            raise BrokenPlugin(
                f"{package} has {files} files called {name}, in {', '.join(_places(package))}; "
                "give yours another name"
            )
    return sorted(name for name in found if name.isidentifier() and not name.startswith("_"))


def _places(package: str) -> list[str]:
    """Return the folders that a package's plug-ins lie in, one's own behind ours."""
    places: list[str] | None = getattr(importlib.import_module(package), "__path__", None)
    if places is None:
        raise ValueError(f"{package} is not a package of plug-ins")
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise BrokenPlugin(f"{FOLDERS} names {folder}, which is no folder")
        own = str(Path(folder, *package.split(".")))
        if own not in places:
            places.append(own)
    return list(dict.fromkeys(places))


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


@contextmanager
def working(kind: str, name: str) -> Iterator[None]:
    """Let what goes wrong inside be told as the plug-in's: it raises BrokenPlugin."""
    try:
        yield
    except Exception as error:
        raise BrokenPlugin(f"{kind} {name}: {type(error).__name__}: {error}") from error


def find(package: str, name: str, kind: str = "name", needs: Sequence[str] = ()) -> ModuleType:
    """Import and return the plug-in module called `name`, which has the attributes `needs`.

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
    lacking = [attribute for attribute in needs if not hasattr(found, attribute)]
    if lacking:
        raise BrokenPlugin(
            f"{kind} {name}: {found.__file__} has no {', '.join(lacking)} (CONTRIBUTING.md)"
        )
    return found
