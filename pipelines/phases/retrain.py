"""Retrain the reward model on fresh labels and a share of history (§4.1.4).

The first one starts from a backbone, later ones continue from the one before with an optimizer of
their own. Old and new model are measured on the same held-out solutions of today's policy, which
neither was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines import world
from pipelines.artifacts import LOG, link_or_copy, write_json
from pipelines.config import Config
from pipelines.runs import Job, Phase
from reward_models.diagnostics import Diagnostics, diagnose
from reward_models.model import RewardModel
from reward_models.replay import mix
from reward_models.training import TrainingProgress, TrainingSettings, train
from reward_models.types import LabeledSolution, read_solutions


def settings(config: Config) -> Mapping[str, Any]:
    """Return the settings that the reward model depends on."""
    return {"reward_model": config.reward_model.model_dump(mode="json")}


PHASE = Phase("retrain", settings)


def run(job: Job) -> None:
    """Write model/, diagnostics.json and replay.json."""
    from accelerate import Accelerator

    config = job.config.reward_model
    place = world.current(job.config.launch.processes)
    previous = job.inputs.get("reward_model")
    heldout = list(read_solutions(job.inputs["labels"] / "heldout.jsonl"))
    report: dict[str, Any] = {"heldout_rows": len(heldout)}
    if previous is not None:
        before = diagnose_on(RewardModel.load(previous / "model"), heldout)
        report["before"] = before.as_row()
        if not config.retrain:
            if place.first:
                link_or_copy(previous / "model", job.output / "model")
                write_json(job.output / "diagnostics.json", {**report, "after": before.as_row()})
                write_json(job.output / "replay.json", {"frozen": True})
            return
    fit = config.first if previous is None else config.again
    mixture = mix(
        list(read_solutions(job.inputs["labels"] / "labels.jsonl")),
        [job.inputs[name] / "labels.jsonl" for name in sorted(job.inputs) if "history" in name],
        share=config.replay.share,
        strategy=config.replay.kind,
        seed=job.seed,
    )
    model = start_of(job, previous)
    with job.progress.bar("reward model", fit.epochs, "epochs") as bar:
        done = 0.0

        def show(state: TrainingProgress) -> None:
            nonlocal done
            reached = fit.epochs * state.step / state.steps
            bar.advance(reached - done, f"loss {state.loss:.3f}")
            done = reached

        training = train(
            model,
            mixture.rows,
            settings=TrainingSettings(
                learning_rate=fit.learning_rate,
                optimizer=config.optimizer,
                muon_learning_rate=fit.muon_learning_rate,
                epochs=fit.epochs,
                batch_size=fit.batch,
                loss=config.loss,
                seed=job.seed,
            ),
            heldout=heldout,
            accelerator=Accelerator() if place.size > 1 else None,
            progress=show,
        )
    if place.first:
        after = diagnose_on(model, heldout)
        report["after"] = after.as_row()
        (job.output / LOG).mkdir()
        write_json(job.output / LOG / "training.json", asdict(training))
        model.save(job.output / "model")
        write_json(job.output / "diagnostics.json", report)
        write_json(job.output / "replay.json", mixture.record.as_row())
    place.wait()


def start_of(job: Job, previous: Path | None) -> RewardModel:
    """Return the weights that training starts from."""
    start = job.config.reward_model.start
    if previous is not None:
        return RewardModel.load(previous / "model")
    if start == "scratch":
        return RewardModel.from_shape(job.inputs["policy"] / "policy", seed=job.seed)
    if start == "policy":
        return RewardModel.from_backbone(job.inputs["policy"] / "policy", seed=job.seed)
    return RewardModel.from_backbone(start, seed=job.seed)


def diagnose_on(model: RewardModel, rows: list[LabeledSolution]) -> Diagnostics:
    """Measure a reward model on labeled solutions."""
    scores = model.score(
        [row.question for row in rows], [row.text for row in rows], [row.ends for row in rows]
    )
    return diagnose(scores, [row.labels for row in rows], [row.problem_id for row in rows])
