from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from iterative_grpo import plugins


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of the plug-ins `one_word` and `other`, which nobody has imported."""
    name = "package_of_plugins"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "one_word.py").write_text("VALUE = 1\n")
    (folder / "other.py").write_text("VALUE = 2\n")
    (folder / "_private.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    return name


def test_a_folder_of_modules_is_the_list_of_choices(package: str) -> None:
    assert plugins.names(package) == ["one_word", "other"]
    assert plugins.find(package, "one_word").VALUE == 1
    assert plugins.find(package, "one-word").VALUE == 1
    assert plugins.find(package, "other").VALUE == 2


@pytest.mark.parametrize("imported", [True, False])
@pytest.mark.parametrize("name", ["_private", "-private", "other.VALUE", "nothing", "", "Other"])
def test_other_names_are_refused_with_the_known_ones(
    name: str, imported: bool, package: str
) -> None:
    if imported:
        importlib.import_module(f"{package}._private")
        importlib.import_module(f"{package}.other")
    with pytest.raises(plugins.UnknownName, match=r"unknown engine .*Known: one_word, other\."):
        plugins.find(package, name, "engine")


def test_a_near_name_is_suggested(package: str) -> None:
    with pytest.raises(plugins.UnknownName, match=r"Did you mean 'one_word'\?"):
        plugins.check(package, "one-wrd", "engine")


def test_a_file_that_is_added_is_found(package: str, tmp_path: Path) -> None:
    plugins.find(package, "other")
    (tmp_path / package / "added.py").write_text("VALUE = 3\n")
    importlib.invalidate_caches()
    assert plugins.find(package, "added").VALUE == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", "cannot be imported: SyntaxError"),
        ("import no_such_module", "cannot be imported: ModuleNotFoundError"),
        ("x = 1", r"has no Rule \(CONTRIBUTING.md\)"),
    ],
)
def test_a_file_that_is_no_plug_in_is_named(
    text: str, said: str, package: str, tmp_path: Path
) -> None:
    file = tmp_path / package / "half.py"
    file.write_text(text)
    importlib.invalidate_caches()
    with pytest.raises(plugins.BrokenPlugin, match=f"credit rule half: {file} {said}"):
        plugins.find(package, "half", "credit rule", ("Rule",))


def test_a_module_is_no_package(package: str) -> None:
    with pytest.raises(ValueError, match="is not a package of plug-ins"):
        plugins.names(f"{package}.other")
