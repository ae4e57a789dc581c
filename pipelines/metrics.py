"""The run's metrics, gathered from its artifacts: written whole each time, never appended twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import artifacts, json_lines, places, times

Row = dict[str, Any]


def publish(run: Path) -> None:
    """Write metrics/steps.jsonl and metrics/iterations.jsonl from the finished artifacts."""
    write_lines(run / "metrics" / "steps.jsonl", steps(run))
    write_lines(run / "metrics" / "iterations.jsonl", iterations(run))


def steps(run: Path) -> Iterator[Row]:
    """Yield one row an optimizer step, counted over the whole run as `global_step`."""
    count = 0
    for folder in places.iterations(run):
        log = folder / "optimize" / artifacts.LOG / "steps.jsonl"
        if not log.exists():
            continue
        advice = "Remove the line to go on without it"
        for _, row in json_lines.objects(log, artifacts.ArtifactError, advice):
            count += 1
            yield {"global_step": count, **row}


AGAIN = "its folder away to make the phase again"


def iterations(run: Path) -> Iterator[Row]:
    """Yield one row an iteration that has been evaluated; 0 is the initial policy."""
    for folder in places.iterations(run):
        if _evaluated(folder):
            yield _row(run, folder)


def under_way(run: Path) -> Iterator[Row]:
    """Yield one row an iteration that has not been evaluated yet, from its finished phases."""
    for folder in places.iterations(run):
        if not _evaluated(folder):
            yield _row(run, folder)


def _evaluated(folder: Path) -> bool:
    return (folder / "evaluate" / artifacts.MANIFEST).exists()


def _row(run: Path, folder: Path) -> Row:
    """Return an iteration's row, or name the folder whose records are not as they were written."""
    try:
        return _gathered(run, folder)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise artifacts.ArtifactError(
            f"{folder} is damaged: a value in its records is of another kind than was written "
            f"({type(error).__name__}: {error}). Restore it, or move the folder of its phase away "
            "to make the phase again"
        ) from error


def _gathered(run: Path, folder: Path) -> Row:
    """Return an iteration's row from the artifacts of its phases."""
    evaluated = folder / "evaluate"
    row: Row = {"iteration": int(folder.name), "evaluations": {}}
    for file in sorted(evaluated.glob("*.*.json")):
        figures = artifacts.read_json(file, AGAIN)
        row["evaluations"][figures["task"]] = figures
    divergence = evaluated / "divergence.json"
    if divergence.exists():
        row |= artifacts.read_json(divergence, AGAIN)
    if (folder / "label" / artifacts.MANIFEST).exists():
        row["labels"] = artifacts.read_json(folder / "label" / "summary.json", AGAIN)
    if (folder / "retrain" / artifacts.MANIFEST).exists():
        row["reward_model"] = reward_model(folder)
    watch = folder / "optimize" / "watch.json"
    if watch.exists():
        row["watch"] = artifacts.read_json(watch, AGAIN)
    moved = folder / "optimize" / "segmentation.json"
    if moved.exists():
        row["segmentation"] = artifacts.read_json(moved, AGAIN)
    row["seconds"] = {
        phase.name: artifacts.read_manifest(phase)["facts"]["seconds"]
        for phase in phases_of(run, folder)
    }
    row["time"] = times.row(
        (phase.name, phase, row["seconds"][phase.name]) for phase in phases_of(run, folder)
    )
    return row


FRESH = (
    "auroc",
    "average_precision",
    "outcome_auroc",
    "pair_accuracy",
    "rank_correlation",
    "brier",
    "ece",
    "accuracy",
    "score_mean",
    "truth_mean",
)
"""Figures on this iteration's held-out solutions, of the model that judges; also `_before`."""

BEST_OF = 4
"""N of the best-of-N figures in the metrics; diagnostics.json has every N."""


def reward_model(folder: Path) -> Row:
    """Return the reward model's figures of an iteration: measured, decided, and trained on."""
    diagnostics = artifacts.read_json(folder / "retrain" / "diagnostics.json", AGAIN)
    replay = artifacts.read_json(folder / "retrain" / "replay.json", AGAIN)
    after, before = diagnostics["after"], diagnostics.get("before", {})
    row: Row = {name: after.get(name) for name in FRESH}
    row |= {f"{name}_before": before.get(name) for name in FRESH if name != "truth_mean"}
    frozen = diagnostics.get("frozen", {})
    for key, side in (("auroc_frozen", "after"), ("auroc_frozen_before", "before")):
        row[key] = (frozen.get(side) or {}).get("auroc")
    row |= after.get("bias", {})
    for best in after.get("best_of", []):
        if best["n"] == BEST_OF:
            row |= {name: best[name]["value"] for name in ("best_of_n", "majority", "pass_at_n")}
            row |= {"gain_low": best["gain"]["low"], "gain_high": best["gain"]["high"]}
    gate, probes = diagnostics.get("gate", {}), diagnostics.get("probes", {})
    row["promoted"] = gate.get("promoted")
    row["refused_because"] = gate.get("reasons", [])
    row["probes_failed"] = [it["name"] for it in probes.get("results", []) if it["failed"]]
    row["probes_not_run"] = probes.get("not_run")
    row["reliability"] = [[it["mean_score"], it["mean_label"], it["ends"]] for it in after["bins"]]
    training = diagnostics.get("training", {})
    row["kept_step"], row["train_steps"] = training.get("kept_step"), training.get("steps")
    row["train_rows"] = replay.get("fresh", 0) + replay.get("replayed", 0)
    row["replay_rows"] = replay.get("replayed", 0)
    row["replay_share"] = replay.get("share", 0.0)
    row["replay_ages"] = replay.get("ages", {})
    row["positive_fresh"] = replay.get("positive_fresh")
    row["positive_replayed"] = replay.get("positive_replayed")
    row["heldout_rows"] = diagnostics["heldout_rows"]
    return row


def phases_of(run: Path, folder: Path) -> list[Path]:
    """Return the finished phases of an iteration; the start belongs to iteration 0."""
    found = [manifest.parent for manifest in sorted(folder.glob(f"*/{artifacts.MANIFEST}"))]
    start = places.phase(run, 0, "start")
    if int(folder.name) == 0 and (start / artifacts.MANIFEST).exists():
        found.append(start)
    return [phase for phase in found if not phase.name.endswith(".partial")]


def write_lines(file: Path, rows: Iterator[Row]) -> None:
    """Write JSON Lines so that a reader sees the old or the new file, never a part."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    artifacts.write_bytes(file, (line.encode() for line in lines))
