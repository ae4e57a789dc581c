"""Held-out accuracy of several arms over the outputs that they sampled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

from pipelines import report
from pipelines.report.comparison import NothingToCompare
from pipelines.report.learning_curves import accuracy_by_samples, samples_until
from pipelines.report.run import read
from tests.pipelines.report.synthetic_run import write_run

SETTINGS: dict[str, Any] = {
    "reward": "model",
    "optimize": {"steps": 20, "prompts": 16, "group_size": 8, "updates": 2},
}


def configured(folder: Path, **changes: object) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump(SETTINGS | changes), encoding="utf-8")
    return folder


def test_samples_are_those_of_the_policy_and_of_its_judge(tmp_path: Path) -> None:
    run = read(configured(write_run(tmp_path / "run")))
    assert samples_until(run, 0) == 0
    policy = 20 * 16 * 8 // 2  # two updates on each exploration
    assert samples_until(run, 1) == policy + 4000
    assert samples_until(run, 3) == 3 * policy + 4000 + 2 * 3000
    verified = read(configured(write_run(tmp_path / "v", reward="verifier"), reward="verifier"))
    assert samples_until(verified, 3) == 3 * policy


def test_samples_are_those_of_the_steps_that_were_made(tmp_path: Path) -> None:
    optimize = {**SETTINGS["optimize"], "updates": 3}
    folder = configured(
        write_run(tmp_path / "run", reward="verifier"), reward="verifier", optimize=optimize
    )
    assert samples_until(read(folder), 2) == 2 * 7 * 16 * 8  # the seventh serves two updates
    steps = folder / "metrics" / "steps.jsonl"
    stopped = [line for line in steps.read_text().splitlines() if json.loads(line)["step"] <= 5]
    steps.write_text("".join(line + "\n" for line in stopped))
    assert samples_until(read(folder), 2) == 2 * 2 * 16 * 8
    whole = configured(
        write_run(tmp_path / "whole", seed=1, reward="verifier"),
        reward="verifier",
        optimize=optimize,
    )
    found = accuracy_by_samples([read(folder), read(whole)])
    assert found.x == tuple(i * (2 + 7) / 2 * 16 * 8 for i in range(5))
    assert all(it.low < it.value < it.high for it in found.estimates[1:])


def test_curve_is_the_mean_over_runs_with_its_interval(tmp_path: Path) -> None:
    runs = [read(configured(write_run(tmp_path / f"{s}", seed=s))) for s in range(4)]
    found = accuracy_by_samples(runs)
    assert found.x == tuple(float(samples_until(runs[0], i)) for i in range(len(found.x)))
    last = [run.iterations[-1]["evaluations"]["arithmetic/test"]["accuracy"] for run in runs]
    low, high = stats.t.interval(0.95, 3, sum(last) / 4, stats.sem(last))
    assert (found.estimates[-1].low, found.estimates[-1].high) == pytest.approx((low, high))


def test_draws_arms_and_refuses_none(tmp_path: Path) -> None:
    runs = {
        "frozen": [configured(write_run(tmp_path / f"f{s}", seed=s, frozen=True)) for s in (0, 1)],
        "iterative": [configured(write_run(tmp_path / "i"))],
    }
    made = report.compare_accuracy(runs, tmp_path / "new" / "picture.png")
    assert made.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(NothingToCompare):
        report.compare_accuracy({}, tmp_path / "picture.png")
    with pytest.raises(NothingToCompare, match="plain"):
        report.compare_accuracy({"plain": []}, tmp_path / "picture.png")
