"""The run's metrics, gathered from many iterations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import artifacts, metrics
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


def finished(place: Path, seconds: float, **files: object) -> None:
    """Write a phase's folder with records under their names, `__` standing for a point."""
    folder = artifacts.start(place)
    for name, record in files.items():
        text = json.dumps(record)
        (folder / f"{name.replace('__', '.')}.json").write_text(text, encoding="utf-8")
    artifacts.finish(place, place.name, {}, {}, lambda: {"seconds": seconds})


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.2}


BEST = [
    {"n": n, "best_of_n": interval(n / 10), "majority": interval(n / 20)}
    | {"pass_at_n": interval(n / 8), "gain": interval(n / 40)}
    for n in (2, 4, 8)
]


def test_a_row_is_what_the_phases_of_its_iteration_wrote(tmp_path: Path) -> None:
    folder = tmp_path / "iterations" / "01"
    finished(folder / "sample", 1.0)
    finished(folder / "label", 2.0, summary={"solutions": 96})
    bins = [{"mean_score": 0.2, "mean_label": 0.3, "ends": 7}]
    after = {"auroc": 0.9, "truth_mean": 0.5, "bias": {"score_by_length": 0.1}}
    diagnostics = {
        "heldout_rows": 19,
        "after": {**after, "best_of": BEST, "bins": bins},
        "before": {"auroc": 0.8, "truth_mean": 0.4},
        "frozen": {"before": {"auroc": 0.6}, "after": {"auroc": 0.7}},
        "gate": {"promoted": False, "reasons": ["worse"]},
        "probes": {"results": [{"name": "a", "failed": True}, {"name": "b", "failed": False}]},
        "training": {"kept_step": 3, "steps": 9},
    }
    replay = {"fresh": 70, "replayed": 7, "share": 0.09, "ages": {"1": 7}}
    replay |= {"positive_fresh": 0.5, "positive_replayed": 0.25}
    finished(folder / "retrain", 4.0, diagnostics=diagnostics, replay=replay)
    finished(folder / "optimize", 8.0, watch={"step": None}, segmentation={"merged": {}})
    figures = {"task": "gsm8k/test", "accuracy": 0.5}
    finished(folder / "evaluate", 16.0, gsm8k__test=figures, divergence={"kl_initial": 0.02})
    (folder / "sample.partial").mkdir()
    (folder / "sample.partial" / "manifest.json").write_text("{}", encoding="utf-8")

    (found,) = metrics.iterations(tmp_path)
    time = found.pop("time")
    assert time["seconds"] == sum(found["seconds"].values()) == 31.0
    judged = found.pop("reward_model")
    assert found == {
        "iteration": 1,
        "evaluations": {"gsm8k/test": figures},
        "kl_initial": 0.02,
        "labels": {"solutions": 96},
        "watch": {"step": None},
        "segmentation": {"merged": {}},
        "seconds": {"evaluate": 16.0, "label": 2.0, "optimize": 8.0, "retrain": 4.0, "sample": 1.0},
    }
    assert {name: value for name, value in judged.items() if value is not None} == {
        "auroc": 0.9,
        "auroc_before": 0.8,
        "truth_mean": 0.5,
        "auroc_frozen": 0.7,
        "auroc_frozen_before": 0.6,
        "score_by_length": 0.1,
        "best_of_n": 0.4,
        "majority": 0.2,
        "pass_at_n": 0.5,
        "gain_low": 0.0,
        "gain_high": pytest.approx(0.3),
        "promoted": False,
        "refused_because": ["worse"],
        "probes_failed": ["a"],
        "reliability": [[0.2, 0.3, 7]],
        "kept_step": 3,
        "train_steps": 9,
        "train_rows": 77,
        "replay_rows": 7,
        "replay_share": 0.09,
        "replay_ages": {"1": 7},
        "positive_fresh": 0.5,
        "positive_replayed": 0.25,
        "heldout_rows": 19,
    }


def test_the_start_counts_for_iteration_0_and_what_is_not_evaluated_has_no_row(
    tmp_path: Path,
) -> None:
    finished(tmp_path / "start", 5.0)
    for iteration in (0, 1):
        finished(tmp_path / "iterations" / f"{iteration:02d}" / "evaluate", 1.0)
    finished(tmp_path / "iterations" / "02" / "sample", 1.0)
    found = {row["iteration"]: row["seconds"] for row in metrics.iterations(tmp_path)}
    assert found == {0: {"evaluate": 1.0, "start": 5.0}, 1: {"evaluate": 1.0}}
    (begun,) = metrics.under_way(tmp_path)
    assert (begun["iteration"], begun["seconds"]) == (2, {"sample": 1.0})
