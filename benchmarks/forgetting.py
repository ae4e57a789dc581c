"""When does replay matter? One run's labels, retrained over again with and without history.

    python benchmarks/forgetting.py runs/iterative/iterative-3 --ways 1x1 3x4 --jobs 2

Takes the labels that a finished run of the main job has stored, begins with its first reward model,
and retrains it on the labels of iterations 2, 3, ... at given numbers of epochs and rates, with the
configured share of history and with none. No policy is trained, so that all arms see the same rows.
Prints the AUROC of the last model on held-out samples of the first iteration (what it may have
forgotten) and of the last one.
"""

from __future__ import annotations

import argparse
import concurrent.futures
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to retrain: epochs, times the run's rates, and whether with history."""

    run: Path
    epochs: int
    rate: float
    kind: str
    seed: int


def main() -> None:
    """Retrain in all ways and print a Markdown table, means over the runs that are given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "runs", type=Path, nargs="+", help="finished runs, retrained each iteration"
    )
    parser.add_argument(
        "--ways", type=way, nargs="+", default=[(1, 1.0), (3, 4.0)], help="epochs x times the rates"
    )
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    ways = [(*way, kind) for way in options.ways for kind in ("share", "none")]
    arms = [Arm(run, *way, seed) for way in ways for seed, run in enumerate(options.runs)]
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        found = dict(zip(arms, pool.map(retrained, arms), strict=True))
    print("| epochs | times the rates | history | AUROC, first iteration | AUROC, last |")
    print("| --- | --- | --- | --- | --- |")
    for epochs, rate, kind in ways:
        of_way = [v for a, v in found.items() if (a.epochs, a.rate, a.kind) == (epochs, rate, kind)]
        first, last = (fmean(column) for column in zip(*of_way, strict=True))
        print(f"| {epochs} | {rate:g} | {kind} | {first:.3f} | {last:.3f} |", flush=True)


def way(text: str) -> tuple[int, float]:
    """Read 3x4 as three epochs at four times the rates."""
    epochs, _, rate = text.partition("x")
    return int(epochs), float(rate)


def retrained(arm: Arm) -> tuple[float, float]:
    """Return the last model's AUROC on the first and on the last iteration's held-out samples."""
    import torch
    import yaml

    from pipelines import building, settings
    from reward_models.diagnostics import diagnose
    from reward_models.model import RewardModel
    from reward_models.replay import mix
    from reward_models.training import train
    from reward_models.types import read_solutions

    torch.set_num_threads(1)
    config = settings.load(yaml.safe_load((arm.run / "config.yaml").read_text(encoding="utf-8")))
    again, replay = config.reward_model.again, config.reward_model.replay
    fit = again.model_copy(
        update={
            "epochs": arm.epochs,
            "learning_rate": again.learning_rate * arm.rate,
            "muon_learning_rate": again.muon_learning_rate * arm.rate,
        }
    )
    folders = [arm.run / "iterations" / f"{i:02d}" for i in range(1, config.iterations + 1)]
    model = RewardModel.load(folders[0] / "retrain" / "model")
    for place, folder in enumerate(folders[1:], start=1):
        mixture = mix(
            list(read_solutions(folder / "label" / "labels.jsonl")),
            [past / "label" / "labels.jsonl" for past in folders[:place]],
            share=replay.share,
            strategy=arm.kind,
            seed=arm.seed,
        )
        train(
            model,
            mixture.rows,
            settings=building.training(config.reward_model, fit, arm.seed),
        )

    def auroc(folder: Path) -> float:
        rows = list(read_solutions(folder / "label" / "heldout.jsonl"))
        scores = model.score(
            [row.question for row in rows], [row.text for row in rows], [row.ends for row in rows]
        )
        found = diagnose(scores, [row.labels for row in rows], [row.problem_id for row in rows])
        return found.auroc or float("nan")

    return auroc(folders[0]), auroc(folders[-1])


if __name__ == "__main__":
    main()
