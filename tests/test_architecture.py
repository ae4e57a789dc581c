"""The import diagram of CONTRIBUTING.md, read from the source files."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("iterative_grpo", "reward_models", "verifiers", "pipelines")

FORBIDDEN = {
    "verifiers": {"iterative_grpo", "reward_models", "pipelines", "torch", "transformers", "trl"},
    "iterative_grpo": {"verifiers", "reward_models", "pipelines"},
    "reward_models": {"pipelines"},
    "pipelines": set[str](),
}
"""What no file of a package may import, at the top or inside a function."""

EVERYWHERE = {"tests", "benchmarks"}
"""What no package may import: they are not in the wheel."""

HEAVY = ("torch", "transformers", "trl", "datasets", "sympy", "sklearn", "matplotlib", "pandas")
"""What an import that a user waits for must not load."""

LIGHT = ("verifiers", "iterative_grpo", "reward_models", "pipelines", "pipelines.cli")

NAMED = {"import_module", "find", "names", "check", "find_spec"}
"""Functions that import what their first argument names."""


def imported(source: str, module: str) -> set[str]:
    """Return the top-level packages that a file imports, lazily or by a name in a string too.

    `module` is the dotted name of the file's own package, which relative imports start from.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                found |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=name, level=0):
                found.add(name or "")
            case ast.ImportFrom(level=level):
                parents = module.split(".")[: -(level - 1) or None]
                found.add(".".join(parents) or "beyond the top")
            case ast.Call(args=[ast.Constant(value=str(name)), *_], func=function):
                called = function.attr if isinstance(function, ast.Attribute) else function
                called = called.id if isinstance(called, ast.Name) else called
                if called in NAMED:
                    found.add(name)
    return {name.split(".")[0] for name in found}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_keep_the_arrows(package: str) -> None:
    assert files(package), f"{package} has no files: the test looks in the wrong place"
    broken = []
    for file in files(package):
        module = ".".join(file.relative_to(ROOT).parent.parts)
        crossed = imported(file.read_text(encoding="utf-8"), module) & (
            FORBIDDEN[package] | EVERYWHERE
        )
        broken += [f"{file.relative_to(ROOT)} imports {name}" for name in sorted(crossed)]
    assert not broken


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", "torch"),
        ("from pipelines.cli import main", "pipelines"),
        ("def f():\n    from reward_models import replay", "reward_models"),
        ("if TYPE_CHECKING:\n    import trl", "trl"),
        ("import importlib\nimportlib.import_module('pipelines.cli')", "pipelines"),
        ("plugins.find('reward_models.sources', name)", "reward_models"),
        ("from . import worker", "verifiers"),
        ("from ...pipelines import cli", "beyond the top"),
    ],
)
def test_reader_sees_each_way_to_import(source: str, expected: str) -> None:
    assert expected in imported(source, "verifiers.conventions" if ".." in source else "verifiers")


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after a statement."""
    program = f"{statement}; import sys; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module: str) -> None:
    assert not loaded_by(f"import {module}") & set(HEAVY)


def test_loaded_by_sees_what_is_loaded() -> None:
    assert "sympy" in loaded_by("import sympy")


def test_files_are_small_rooms() -> None:
    long = {
        str(file.relative_to(ROOT)): lines
        for package in PACKAGES
        for file in files(package)
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 420
    }
    assert not long, "a file of much more than 400 lines holds a second idea: split it"


def test_files_are_named_for_their_content() -> None:
    nameless = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    found = [str(file) for package in PACKAGES for file in files(package) if file.stem in nameless]
    assert not found
