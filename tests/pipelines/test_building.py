"""Names in the configuration lead to the parts they name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines import building
from pipelines.phases import label
from pipelines.plan import plan
from pipelines.progress import Progress
from pipelines.runs import Job
from pipelines.settings import ConfigError
from reward_models import labels
from tests.pipelines import toy

LABELER = "def build(tools): return tools\n"


@contextmanager
def labeler(folder: Path, source: str) -> Iterator[None]:
    """Put a labeler called `own` beside the others."""
    folder.mkdir()
    (folder / "own.py").write_text(source, encoding="utf-8")
    labels.__path__.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        labels.__path__.remove(str(folder))
        sys.modules.pop("reward_models.labels.own", None)


@pytest.mark.parametrize(
    ("name", "continues"),
    [
        ("exact", False),
        ("verdict", False),
        ("monte_carlo", True),
        ("monte-carlo", True),
        ("first_error", True),
    ],
)
def test_labelers_that_sample_continue_prefixes_where_there_are_steps(
    name: str, continues: bool, tmp_path: Path
) -> None:
    chosen = f"label.labeler={name}"
    config = toy.config(tmp_path, tmp_path, chosen, "supervision=process")
    assert building.continues_prefixes(config) is continues
    assert ("continuations of each step" in plan(config)) is continues
    assert not building.continues_prefixes(toy.config(tmp_path, tmp_path, chosen))


@pytest.mark.parametrize(
    ("source", "continues"), [(LABELER, False), (f"CONTINUES = True\n{LABELER}", True)]
)
def test_a_labeler_of_ones_own_samples_if_it_says_so(
    source: str, continues: bool, tmp_path: Path
) -> None:
    with labeler(tmp_path / "labels", source):
        config = toy.config(tmp_path, tmp_path, "label.labeler=own", "supervision=process")
        assert building.continues_prefixes(config) is continues
        assert ("continuations of each step" in plan(config)) is continues


def test_a_labeler_that_does_not_sample_gets_no_policy(tmp_path: Path) -> None:
    with labeler(tmp_path / "labels", LABELER):
        config = toy.config(tmp_path, tmp_path, "label.labeler=own", "supervision=process")
        inputs: dict[str, Path] = {}  # no policy is among them
        job = Job("label", 1, config, inputs, tmp_path, Progress(quiet=True))
        with label.tools(job, []) as made_of:
            assert made_of.continuing is None


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("own", "x = (", r"labeler own: .*own\.py cannot be imported: SyntaxError"),
        ("own", "x = 1", r"labeler own: .*own\.py has no build \(CONTRIBUTING\.md\)"),
        ("ovn", LABELER, r"unknown labeler 'ovn'\. Did you mean 'own'\? Known: exact, first_err"),
    ],
)
def test_labelers_that_are_none_are_named(
    name: str, source: str, message: str, tmp_path: Path
) -> None:
    with labeler(tmp_path / "labels", source), pytest.raises(ConfigError, match=message):
        toy.config(tmp_path, tmp_path, f"label.labeler={name}", "supervision=process")
