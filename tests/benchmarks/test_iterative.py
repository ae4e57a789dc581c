"""The benchmark of the main job, on made-up runs: what it reads, repeats, draws and tabulates."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scipy import stats

from pipelines.report.run import read
from tests.pipelines.report.synthetic_run import write_run

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "iterative.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    # A benchmark's own modules lie beside it, as when it is started by its path.
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("iterative_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    sys.path.remove(str(SCRIPT.parent))
    return module


@pytest.fixture(scope="module")
def figures(benchmark: ModuleType) -> Any:
    return sys.modules[benchmark.tables.__module__]


def test_seeds(benchmark: ModuleType) -> None:
    assert benchmark.seeds("0-2,7") == [0, 1, 2, 7]


def test_a_run_is_finished_with_its_last_iteration_and_its_report(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", iterations=2, steps=2)
    assert not benchmark.finished(tmp_path / "absent")
    assert not benchmark.finished(run)
    (run / "report.html").touch()
    assert benchmark.finished(run)
    write_run(run, iterations=2, steps=2, finished=False)
    assert not benchmark.finished(run)


def test_best_is_chosen_on_validation_and_read_on_test(
    benchmark: ModuleType, figures: Any, tmp_path: Path
) -> None:
    run = read(write_run(tmp_path / "run", frozen=True))
    validation, test = (
        [row["evaluations"][f"arithmetic/{split}"]["accuracy"] for row in run.iterations]
        for split in ("validation", "test")
    )
    found = figures.outcome(run)
    assert found.start == test[0]
    assert found.final == test[-1]
    assert found.best == test[validation.index(max(validation))]
    assert found.minutes == pytest.approx((5 * 3.1 + 4 * (9 + 1.4 + 14.2 + 11.5)) / 60)
    assert found.gap > 0.3


def test_table_has_t_intervals_and_paired_differences(
    benchmark: ModuleType, figures: Any, tmp_path: Path
) -> None:
    runs = {
        arm: [
            read(write_run(tmp_path / f"{arm}{seed}", seed=seed, frozen=arm == "frozen"))
            for seed in range(3)
        ]
        for arm in ("frozen", "iterative")
    }
    final = {arm: [figures.outcome(run).final for run in found] for arm, found in runs.items()}
    low, high = stats.t.interval(0.95, 2, sum(final["frozen"]) / 3, stats.sem(final["frozen"]))
    text = figures.tables(runs)
    assert f"{(low + high) / 2:.3f} ± {(high - low) / 2:.3f}" in text
    difference = [b - a for a, b in zip(final["frozen"], final["iterative"], strict=True)]
    assert f"paired by seed: {sum(difference) / 3:+.3f} ±" in text
    assert text.count("| 3 |") == 4  # two tables of two arms


def test_finished_runs_are_drawn_and_not_repeated(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arm in ("frozen", "iterative"):
        run = write_run(tmp_path / "runs" / f"{arm}-0", frozen=arm == "frozen", steps=3)
        (run / "report.html").touch()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    picture, table = tmp_path / "picture.png", tmp_path / "table.md"
    options = ["--seeds", "0", "--runs", tmp_path / "runs", "--picture", picture, "--table", table]
    options += ["--accuracy-picture", tmp_path / "accuracy.png"]
    monkeypatch.setattr(sys, "argv", ["iterative.py", *map(str, options)])
    assert benchmark.main() == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == before
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Reward model frozen" in table.read_text(encoding="utf-8")


def test_arms_of_a_seed_share_their_start(
    benchmark: ModuleType, figures: Any, tmp_path: Path
) -> None:
    options = argparse.Namespace(runs=tmp_path, arms=["frozen", "iterative"])
    for name, manifest in (("frozen-0", "manifest.json"), ("frozen-1", "half")):
        (tmp_path / name / "start").mkdir(parents=True)
        (tmp_path / name / "start" / manifest).write_text(name)
    for seed in (0, 1):
        benchmark.borrow_start(
            benchmark.Job("iterative", seed, tmp_path / f"iterative-{seed}"), options
        )
    assert (tmp_path / "iterative-0" / "start" / "manifest.json").read_text() == "frozen-0"
    assert not (tmp_path / "iterative-1").exists()  # a start that is not finished is not taken


def test_a_run_that_fails_is_named(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--seeds", "0", "--arms", "frozen", "--runs", str(tmp_path), "no.such=1"]
    monkeypatch.setattr(sys, "argv", ["iterative.py", *options])
    assert benchmark.main() == 1
    shown = capsys.readouterr()
    assert "frozen, seed 0: failed with exit code 2" in shown.out
    assert "unknown key no." in (tmp_path / "frozen-0.log").read_text(encoding="utf-8")
