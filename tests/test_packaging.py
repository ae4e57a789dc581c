"""The wheel: what is in it, and that it runs where the source tree is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"iterative_grpo", "reward_models", "verifiers", "pipelines"}

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy: a build must not write into the tree, nor find what an old one left."""
    folder = tmp_path_factory.mktemp("build")
    left_out = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "runs")
    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "source", cwd=folder)
    (made,) = (folder / "dist").glob("*.whl")
    assert len(list((folder / "dist").glob("*.tar.gz"))) == 1
    return made


def test_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_holds_every_file_that_the_packages_need(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    needed = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for kind in ("*.py", "*.yaml", "*.html", "py.typed")
        for path in (ROOT / package).rglob(kind)
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= needed
    assert needed - inside == set()


def test_says_what_it_is(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    metadata = archive.read(name).decode("utf-8")
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]


def test_runs_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """The wheel is installed alone; its dependencies are seen through a .pth file.

    A .pth file adds this environment's packages but not its editable installations, so the source
    tree stays out of reach.
    """
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    bin_folder = environment / ("Scripts" if sys.platform == "win32" else "bin")
    python = bin_folder / "python"
    empty = tmp_path / "empty"
    empty.mkdir()
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=empty)
    place = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(run(python, "-c", place, cwd=empty).strip())
    (own / "dependencies.pth").write_text(run(sys.executable, "-c", place, cwd=empty))

    for package in sorted(PACKAGES):
        where = run(python, "-c", f"import {package}; print({package}.__path__[0])", cwd=empty)
        assert Path(where.strip()).parent == own, "imported from elsewhere: the test shows nothing"
    command = bin_folder / "iterative-grpo"
    assert "run" in run(command, "--help", cwd=empty)
    shipped = run(command, "configs", cwd=empty)
    for config in (ROOT / "pipelines" / "configs").glob("*.yaml"):
        assert config.stem in shipped
    checked = "from verifiers import verify; print(verify('so #### 42', '42').correct)"
    assert run(python, "-c", checked, cwd=empty).strip() == "True"
