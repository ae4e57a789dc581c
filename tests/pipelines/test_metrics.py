"""The run's metrics, gathered from many iterations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import metrics
from pipelines.artifacts import ArtifactError
from tests.pipelines.toy import lines


def test_iterations_come_in_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (9, 10, 99, 100, 101):
        folder = tmp_path / "iterations" / f"{number:02d}"
        log, evaluated = folder / "optimize" / "log", folder / "evaluate"
        log.mkdir(parents=True)
        (log / "steps.jsonl").write_text(json.dumps({"iteration": number, "step": 1}) + "\n")
        evaluated.mkdir()
        manifest = {"fingerprint": "", "phase": "", "settings": {}, "inputs": {}, "files": {}}
        manifest["facts"] = {"seconds": 1.0}
        (evaluated / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "metrics").mkdir()
    metrics.publish(tmp_path)
    steps = lines(tmp_path / "metrics" / "steps.jsonl")
    expected = [(1, 9), (2, 10), (3, 99), (4, 100), (5, 101)]
    assert [(row["global_step"], row["iteration"]) for row in steps] == expected
    rows = lines(tmp_path / "metrics" / "iterations.jsonl")
    assert [row["iteration"] for row in rows] == [9, 10, 99, 100, 101]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("retrain/diagnostics.json", '{"after": {"bins": ["x"]}, "heldout_rows": 1}'),
        ("retrain/replay.json", '{"replayed": null}'),
        ("evaluate/log/time.json", '{"verify": "x"}'),
        ("evaluate/log/time.json", '{"verify": {"seconds": [1], "tokens": 0}}'),
    ],
)
def test_values_of_another_kind_are_named(file: str, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "iterations" / "01"
    kept = {
        "retrain/diagnostics.json": '{"after": {"bins": []}, "heldout_rows": 1}',
        "retrain/replay.json": "{}",
        "evaluate/log/time.json": "{}",
    }
    for phase in ("retrain", "evaluate"):
        (folder / phase / "log").mkdir(parents=True)
        manifest = {"fingerprint": "", "phase": "", "settings": {}, "inputs": {}, "files": {}}
        (folder / phase / "manifest.json").write_text(
            json.dumps({**manifest, "facts": {"seconds": 1.0}})
        )
    for name, value in kept.items():
        (folder / name).write_text(value)
    assert len(list(metrics.iterations(tmp_path))) == 1
    (folder / file).write_text(text)
    with pytest.raises(ArtifactError, match=f"{folder} is damaged: a value in its records"):
        list(metrics.iterations(tmp_path))


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    log = tmp_path / "iterations" / "01" / "optimize" / "log"
    log.mkdir(parents=True)
    (log / "steps.jsonl").write_text('{"step": 1}\n{"st', encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"steps\.jsonl, line 2: not JSON"):
        list(metrics.steps(tmp_path))
