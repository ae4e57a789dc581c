"""Writes run directories of a made-up run, file by file as a real one does."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines import artifacts
from pipelines.report.intervals import wilson
from reward_models.ledger import Judgement, Ledger

HOSTILE = "18+5=23\n</pre><script>alert('x')</script>\n2*4=8 & \"<b>\" \u202e\x00\x1b[31m\n#### 31"
"""A completion that tries to leave its place in a page."""


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(
    path: Path,
    *,
    seed: int = 0,
    iterations: int = 4,
    steps: int = 20,
    reward: str = "model",
    supervision: str = "process",
    frozen: bool = False,
    finished: bool = True,
) -> Path:
    """Write a run; `finished=False` leaves its last iteration in the middle of optimize."""
    draw = random.Random(seed)
    path.mkdir(parents=True, exist_ok=True)
    configuration = {
        "run_dir": str(path),
        "seed": seed,
        "iterations": iterations,
        "supervision": supervision,
        "reward": reward,
        "optimize": {"steps": steps, "group_size": 8, "beta": 0.04},
        "reward_model": {"retrain": not frozen},
        "evaluate": {"tasks": ["arithmetic/validation", "arithmetic/test"]},
    }
    (path / "config.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    about = {"versions": {"python": "3.11.7", "torch": "2.13.0"}, "seed": seed}
    (path / "run.json").write_text(json.dumps(about), encoding="utf-8")
    truth = 0.5
    step_rows: list[dict[str, Any]] = []
    iteration_rows = [_iteration(0, 0.64, reward, frozen, draw)]
    for iteration in range(1, iterations + 1):
        for step in range(1, steps + 1):
            global_step = (iteration - 1) * steps + step
            progress = global_step / (iterations * steps)
            goal = 0.9 if not frozen else 0.82 - 0.75 * max(0.0, progress - 0.4)
            truth += (goal - truth) * 0.06
            step_rows.append(_step(iteration, step, global_step, truth, reward, draw, frozen))
        write_rollouts(path, iteration, draw)
        if reward != "verifier":
            write_ledger(path, iteration)
        iteration_rows.append(_iteration(iteration, truth, reward, frozen, draw))
    if not finished:
        iteration_rows.pop()
        del step_rows[-steps // 2 :]
    write_lines(path / "metrics" / "steps.jsonl", step_rows)
    write_lines(path / "metrics" / "iterations.jsonl", iteration_rows)
    return path


def _step(
    iteration: int,
    step: int,
    global_step: int,
    truth: float,
    reward: str,
    draw: random.Random,
    frozen: bool,
) -> dict[str, Any]:
    true = min(1.0, max(0.0, truth + draw.gauss(0, 0.03)))
    believed = true + draw.gauss(0.01, 0.02)
    if frozen:
        believed = min(0.97, 0.5 + 0.5 * (1 - math.exp(-global_step / 25))) + draw.gauss(0, 0.015)
    learned = reward != "verifier"
    row = {
        "iteration": iteration,
        "step": step,
        "global_step": global_step,
        "reward": believed if learned else true,
        "reward_std": 0.25 * math.exp(-global_step / 60) + 0.05,
        "frac_skipped_groups": 0.25 + 0.2 * draw.random(),
        "kl": 0.002 * step * (1 + 0.2 * draw.random()),
        "entropy": 0.9 * math.exp(-global_step / 80) + 0.02 * draw.random(),
        "completion_length": 22 + draw.gauss(0, 0.4),
        "truncated": max(0.0, draw.gauss(0.01, 0.006)),
        "verifier_accuracy": true,
        "steps_correct": 4 + draw.gauss(0, 0.05),
        "steps_incorrect": 4.3 + draw.gauss(0, 0.1),
        "time/generate": 0.15,
        "time/score": 0.04,
        "time/verify": 0.01,
        "time/forward-backward": 0.30,
        "seconds": 0.56,
        "tokens": 2816,
    }
    row |= {
        "beta": 0.04 * 0.98**step,
        "tokens_correct": 22.0,
        "tokens_incorrect": 25 + draw.random(),
        "repetition_correct": 0.0,
        "repetition_incorrect": 0.02 * draw.random(),
        "first_advantage_per_step": draw.gauss(0.1, 0.1),
        "kl_initial": 0.001 * global_step * (1 + 0.2 * draw.random()),
    }
    if learned:
        # As under process supervision: the score of the whole is not the mean over steps.
        score = believed - 0.02
        row |= {
            "reward/model": believed,
            "score": score,
            "gap": score - true,
            "liked_wrong": 0.1 * draw.random(),
            "disliked_right": 0.05 * draw.random(),
            "pair_accuracy": 0.8 + 0.1 * draw.random(),
        }
    return row


def _iteration(
    iteration: int, truth: float, reward: str, frozen: bool, draw: random.Random
) -> dict[str, Any]:
    row: dict[str, Any] = {"iteration": iteration, "evaluations": {}}
    for task in ("arithmetic/validation", "arithmetic/test"):
        correct = round(300 * min(1.0, max(0.0, truth + 0.1 + draw.gauss(0, 0.02))))
        it = wilson(correct, 300)
        row["evaluations"][task] = {
            "accuracy": it.value,
            "low": it.low,
            "high": it.high,
            "n": 300,
            "correct": correct,
            "no_answer": 3,
            "unparsed": 1,
            "truncated": 2,
            "mean_length": 22.1,
        }
    if iteration and reward != "verifier":
        row["labels"] = {"solutions": 4000 if iteration == 1 else 3000}
        row["reward_model"] = {
            "auroc": 0.93 - 0.004 * iteration,
            "auroc_frozen": 0.93 - 0.01 * iteration,
            "pair_accuracy": 0.89 - 0.005 * iteration,
            "brier": 0.10,
            "ece": 0.03,
            "score_mean": 0.7,
            "truth_mean": 0.69,
            "train_rows": 3000,
            "replay_rows": 300,
            "replay_share": 0.1,
            "replay_ages": {"1": 200, "2": 100},
            "promoted": iteration != 3,
            "refused_because": ["fresh samples: auroc <went> down"] if iteration == 3 else [],
            "probes_failed": ["empty"] if iteration == 2 else [],
            "kept_step": 0 if iteration == 2 else 90,
            "train_steps": 90,
            "reliability": [[0.05, 0.1, 300], [0.55, 0.4, 40], [0.95, 0.9 - 0.1 * iteration, 700]],
            "best_of_n": 0.8,
            "majority": 0.75,
            "pass_at_n": 0.9,
            "gain_low": 0.01,
            "gain_high": 0.09,
        }
        if iteration > 1:
            row["reward_model"] |= {
                "auroc_before": 0.86 - 0.02 * iteration,
                "pair_accuracy_before": 0.80 - 0.02 * iteration,
            }
    if iteration:
        row["watch"] = {"action": "report", "step": None, "reason": None, "stopped": False}
        if reward != "verifier":
            row["watch"]["cells"] = {
                "liked right": 70 + iteration,
                "liked wrong": 10,
                "disliked right": 0,
                "disliked wrong": 20 - iteration,
            }
        if iteration == 3 and frozen:
            row["watch"] |= {"step": 7, "reason": "the gap <has> grown by 0.2"}
    row["kl_initial"] = 0.03 * iteration
    row["seconds"] = {"evaluate": 3.1}
    if iteration:
        row["seconds"] |= {"sample": 9.0, "label": 1.4, "retrain": 14.2, "optimize": 11.5}
    row["time"] = _time(row["seconds"])
    return row


def _time(seconds: dict[str, float]) -> dict[str, Any]:
    parts = {
        "sample": {"generate": (8.7, 66_000), "input/output": (0.3, 0)},
        "label": {"label": (1.3, 0), "other": (0.1, 0)},
        "retrain": {"forward-backward": (14.0, 50_000), "other": (0.2, 0)},
        "optimize": {"generate": (3.0, 56_000), "forward-backward": (6.0, 112_000)},
        "evaluate": {"generate": (2.9, 0), "input/output": (0.2, 0)},
    }
    parts["optimize"]["other"] = (11.5 - 9.0, 0)
    phases = {
        phase: {name: {"seconds": s, "tokens": n} for name, (s, n) in parts[phase].items()}
        for phase in seconds
    }
    whole = sum(seconds.values())
    outside = sum(
        spent["seconds"]
        for found in phases.values()
        for name, spent in found.items()
        if name in ("input/output", "other")
    )
    return {"phases": phases, "outside": {"seconds": outside, "share": outside / whole}}


def write_under_way(path: Path, iteration: int, steps: int) -> None:
    """Write an iteration whose reward model is retrained, and that is within its policy phase.

    Behind its finished steps stands one that is only half written.
    """
    folder = path / "iterations" / f"{iteration:02d}"
    diagnostics = {
        "heldout_rows": 64,
        "after": {"auroc": 0.875, "pair_accuracy": 0.75, "bins": []},
        "gate": {"promoted": False, "reasons": ["brier is up"]},
        "probes": {"results": [{"name": "thank you", "failed": True}]},
    }
    write_phase(folder / "retrain", 15.0, diagnostics=diagnostics, replay={"fresh": 640})
    draw = random.Random(iteration)
    rows = [_step(iteration, n, n, 0.5, "model", draw, False) for n in range(1, steps + 1)]
    for row in rows:
        del row["global_step"]  # a phase knows its own steps alone
    log = artifacts.partial(folder / "optimize") / artifacts.LOG / "steps.jsonl"
    write_lines(log, rows)
    with log.open("a", encoding="utf-8") as out:
        out.write('{"iteration": 1, "st')


def write_phase(place: Path, seconds: float, **records: object) -> None:
    """Write a finished phase with its records, and a clock that spent all in one part."""
    folder = artifacts.start(place)
    for name, record in records.items():
        artifacts.write_json(folder / f"{name}.json", record)
    (folder / artifacts.LOG).mkdir()
    clock = {"forward-backward": {"seconds": seconds, "tokens": 0}}
    artifacts.write_json(folder / artifacts.LOG / "time.json", clock)
    artifacts.finish(place, place.name, {}, {}, lambda: {"seconds": seconds})


def write_ledger(path: Path, iteration: int) -> None:
    made = Ledger()
    made.add(
        Judgement(f"arithmetic/train/{n % 3}", text, score, correct, step=n)
        for n, (text, score, correct) in enumerate(
            [("liked a little", 0.6, False), (HOSTILE, 0.97, False), ("right", 0.9, True)]
        )
    )
    made.write(path / "iterations" / f"{iteration:02d}" / "optimize" / "ledger.jsonl")


def write_rollouts(path: Path, iteration: int, draw: random.Random, count: int = 64) -> None:
    rows = []
    for index in range(count):
        right = draw.random() < 0.7 and index != 5
        text = HOSTILE if index == 5 else f"18+5=23\n2*4={8 if right else 6}\n23+8=31\n#### 31"
        ends = [i + 1 for i, c in enumerate(text) if c == "\n"] + [len(text)]
        score = draw.random() * 0.4 + (0.6 if right else 0.2)
        if index == 5:
            score = 1.0  # the first to be shown among the wrong, yet rewarded
        rows.append(
            {
                "problem_id": f"arithmetic/train/{index // 8}",
                "sample": index % 8,
                "step": 1 + index // 32,
                "text": text,
                "ends": ends,
                "rewards": [min(1.0, score + 0.02 * k) for k in range(len(ends))],
                "advantages": [0.3 - 0.1 * k for k in range(len(ends))],
                "correct": right,
                "finish": "stop",
            }
        )
    folder = path / "iterations" / f"{iteration:02d}" / "optimize"
    write_lines(folder / "rollouts.jsonl", rows)
    question = "Ann has 18 coins. Ann wins 5. Ann buys 2 boxes of 4. How many?"
    write_lines(
        folder / "questions.jsonl",
        (
            {"id": it, "question": question, "answer": "31"}
            for it in {r["problem_id"] for r in rows}
        ),
    )
