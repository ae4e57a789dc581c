"""Retrain the reward model on fresh labels and a share of history (§4.1.4), and decide on it.

The first one starts from a backbone, later ones continue from the one before with an optimizer of
their own. Old and new model score the same held-out solutions of today's policy, and of earlier
ones, which neither was trained or tuned on. A new model that is worse is kept apart, and the old
one goes on judging; so it does where all fresh labels are alike, and nothing can be trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines import building, dividing, policies, questions, verifying, world
from pipelines.artifacts import LOG, link_or_copy, write_json
from pipelines.config import Config
from pipelines.evaluation.votes import answers
from pipelines.runs import Job, Phase
from reward_models import calibration, gate
from reward_models.adapters import lora
from reward_models.diagnostics import groups
from reward_models.division import Part
from reward_models.examples import OneClass
from reward_models.measuring import Samples, Scored, paired, score
from reward_models.model import RewardModel
from reward_models.probes import NoGenuine, ProbeReport, run_probes
from reward_models.replay import Mixture, mix, outcomes
from reward_models.training import TrainingProgress, TrainingReport, train
from reward_models.types import LabeledSolution, read_solutions

HISTORY = "history_"
"""Inputs with labels of earlier iterations are called this and their number."""


class UnfitRewardModel(RuntimeError):
    """The first reward model was refused, and there is no older one to go on with."""


def settings(config: Config) -> Mapping[str, Any]:
    """Return the settings that the reward model depends on."""
    return {"reward_model": config.reward_model.model_dump(mode="json", exclude={"dtype"})}


PHASE = Phase("retrain", settings)


def run(job: Job) -> None:
    """Write model/ (the judge from now on), rejected/ (if any), diagnostics.json, replay.json."""
    place = world.current(job.config.launch.processes)
    previous = job.inputs.get("reward_model")
    frozen = previous is not None and not job.config.reward_model.retrain
    new = training = why_not = None
    replayed: Mapping[str, Any] = {"frozen": True}
    if not frozen:
        mixture = mixture_of(job)
        new = start_of(job, previous)
        replayed = mixture.record.as_row()
        try:
            training = fit(job, new, mixture.rows)
        except OneClass as error:
            if previous is None:
                raise
            # A policy that answers all of them rightly is no reason to end a run.
            new, why_not = None, str(error)
            replayed = {"not_trained": why_not}
    if place.first:
        write_json(job.output / "diagnostics.json", judge(job, previous, new, training, why_not))
        if previous is not None and not (job.output / "model").exists():
            link_or_copy(previous / "model", job.output / "model")
        write_json(job.output / "replay.json", replayed)
    place.wait()


def mixture_of(job: Job) -> Mixture:
    """Return the training rows; none asks a held-out question, or one of an evaluation."""
    replay = job.config.reward_model.replay
    made = mix(
        read(job, Part.LABELS),
        history(job, Part.LABELS),
        share=replay.share,
        strategy=replay.kind,
        seed=job.seed,
        max_age=replay.max_age,
        relabel=outcomes if replay.relabel == "outcome" else None,
    )
    rows = dividing.forbidden(job.config).checked(made.rows)
    return Mixture(tuple(dividing.division(job.config).checked(rows)), made.record)


def start_of(job: Job, previous: Path | None) -> RewardModel:
    """Return the weights that training starts from, in float32: bfloat16 loses small steps."""
    import torch

    start = job.config.reward_model.start
    if previous is not None:
        return load(previous)
    policy = job.inputs["policy"] / "policy"
    heads = job.config.reward_model.heads
    if start == "scratch":
        model = RewardModel.from_shape(policy, seed=job.seed, heads=heads)
    else:
        backbone = policy if start == "policy" else start
        model = RewardModel.from_backbone(backbone, seed=job.seed, dtype="float32", heads=heads)
    model.model.to(policies.device(), torch.float32)
    return model


def load(artifact: Path) -> RewardModel:
    """Return the reward model of a finished retrain phase."""
    return RewardModel.load(artifact / "model", device=policies.device())


def fit(job: Job, model: RewardModel, rows: Sequence[LabeledSolution]) -> TrainingReport:
    """Train the model in place; validation rows stop it early and calibrate it."""
    from accelerate import Accelerator

    config = job.config.reward_model
    place = world.current(job.config.launch.processes)
    settings = config.first if "reward_model" not in job.inputs else config.again
    validation = read(job, Part.VALIDATION)
    if not validation and config.validation:
        job.progress.note("no question fell to validation: the reward model trains to the end")
    low_rank = lora(model, **config.lora.model_dump()) if config.lora else nullcontext()
    model.calibration = None
    with job.progress.bar("reward model", settings.epochs, "epochs") as bar, low_rank:
        done = 0.0

        def show(state: TrainingProgress) -> None:
            nonlocal done
            reached = settings.epochs * state.step / state.steps
            bar.advance(reached - done, f"loss {state.loss:.3f}")
            done = reached

        report = train(
            model,
            rows,
            settings=building.training(config, settings, job.seed),
            heldout=validation,
            accelerator=Accelerator() if place.size > 1 else None,
            progress=show,
        )
    if config.calibrate != "none" and place.first:
        model.calibration = calibration.fit(
            config.calibrate,
            score(model, validation),
            [row.labels for row in validation],
            [row.problem_id for row in validation],
        )
    return report


def judge(
    job: Job,
    previous: Path | None,
    new: RewardModel | None,
    training: TrainingReport | None,
    why_not: str | None = None,
) -> dict[str, Any]:
    """Measure both models, keep the one that is to judge, and return the report.

    `why_not` says why no new one could be trained. Raises UnfitRewardModel if a first model is
    refused.
    """
    samples = samples_of(job)
    after = before = None
    probes: ProbeReport | str = "no model"
    if new is not None:
        after, probes = samples.score(new), probe(job, new, samples)
        new.model.to("cpu")  # it is saved from there, and a GPU need not hold both
    if previous is not None:
        old = load(previous)
        before = samples.score(old)
        if new is None:
            probes = probe(job, old, samples)
    report: dict[str, Any] = {
        "heldout_rows": len(samples.fresh),
        "probes": probes.as_row() if isinstance(probes, ProbeReport) else {"not_run": probes},
    }
    decision = None
    if why_not is not None:
        decision = gate.Decision(False, (f"not trained: {why_not}",), ())
        job.progress.note(f"no new reward model, the old one stays: {why_not}")
    if after is not None and training is not None:
        failed = probes.failed if isinstance(probes, ProbeReport) else ()
        decision = decide(job, before, after, failed)
        report["training"] = write_training(job, training)
    if decision is not None:
        report["gate"] = {"enabled": job.config.reward_model.gate.enabled, **decision.as_row()}
    promoted = decision is not None and decision.promoted
    if new is not None:
        new.save(job.output / ("model" if promoted else "rejected"))
    report |= figures(before, after, promoted, job.seed)
    if new is not None and not promoted:
        refused(job, report, first=previous is None)
    return report


def samples_of(job: Job) -> Samples:
    """Return what is measured on: held-out solutions of this iteration and of past ones."""
    rows = read(job, Part.HELD_OUT)
    return Samples.draw(
        rows,
        votes_of(job, rows),
        history(job, Part.HELD_OUT),
        frozen_rows=job.config.reward_model.frozen_rows,
        seed=job.seed,
    )


def votes_of(job: Job, rows: Sequence[LabeledSolution]) -> list[str | None]:
    """Return what each solution votes for: equal answers to a question are one, however spelt."""
    golds = {p.id: p.answer for p in questions.training(job.config).problems}
    verdicts = verifying.verifier(job.config)([(row.text, golds[row.problem_id]) for row in rows])
    stated = [{"outcome": it.outcome.value, "extracted": it.extracted} for it in verdicts]
    places = groups([row.problem_id for row in rows])
    voted = answers([[stated[i] for i in own] for own in places], questions.convention(job.config))
    found: list[str | None] = [None] * len(rows)
    for own, votes in zip(places, voted, strict=True):
        for i, vote in zip(own, votes, strict=True):
            found[i] = vote
    return found


def probe(job: Job, model: RewardModel, samples: Samples) -> ProbeReport | str:
    """Return how the model does on the probes, or why they were not run."""
    if job.config.reward_model.probes == "none":
        return "switched off"
    try:
        return run_probes(model, building.splitter(job.config), samples.fresh, seed=job.seed)
    except NoGenuine as error:
        return str(error)


def decide(
    job: Job, before: Scored | None, after: Scored, failed_probes: Sequence[str]
) -> gate.Decision:
    """Return whether the new model is to judge."""
    config = job.config.reward_model
    blocking = failed_probes if config.probes == "block" else ()
    if not config.gate.enabled:
        reasons = tuple(f"failed probe: {name}" for name in blocking)
        return gate.Decision(not reasons, reasons, ())
    if before is None:
        return gate.admit(after.fresh, failed_probes=blocking)
    margins = gate.Margins(
        **config.gate.model_dump(exclude={"enabled"}),
        # Bradley-Terry's loss is the same for scores moved by a constant, whatever Brier's says.
        probabilities=config.loss != "bradley_terry" or config.calibrate != "none",
    )
    return gate.decide(paired(before, after), margins, failed_probes=blocking, seed=job.seed)


def figures(
    before: Scored | None, after: Scored | None, promoted: bool, seed: int
) -> dict[str, Any]:
    """Return the figures of the old model, of the one that judges, and of a rejected one."""
    measured = {"before": before, "after": after}
    if not promoted:
        measured = {"before": before, "after": before, "rejected": after}
    found = {name: scored for name, scored in measured.items() if scored is not None}
    return {
        **{name: scored.on_fresh(seed) for name, scored in found.items()},
        "frozen": {name: scored.on_frozen() for name, scored in found.items()},
    }


def refused(job: Job, report: Mapping[str, Any], *, first: bool) -> None:
    """Say that a model was refused and why; without an older one the run cannot go on."""
    reasons = "; ".join(report["gate"]["reasons"])
    if first:
        raise UnfitRewardModel(
            f"the first reward model was refused ({reasons}), and there is no older one; it is "
            f"kept in {job.output / 'rejected'}. Sample more questions, train longer "
            "(reward_model.first), or let it pass: reward_model.probes=report, "
            "reward_model.gate.enabled=false"
        )
    job.progress.note(f"the retrained reward model was refused, the old one stays: {reasons}")


def write_training(job: Job, training: TrainingReport) -> dict[str, Any]:
    """Keep the training's record, and return of it what is the same in equal runs."""
    row = asdict(training)
    (job.output / LOG).mkdir()
    write_json(job.output / LOG / "training.json", row)
    names = ("steps", "kept_step", "stopped_early", "losses", "heldout_losses")
    return {name: row[name] for name in names}


def read(job: Job, part: Part) -> list[LabeledSolution]:
    """Return this iteration's labeled solutions of a part."""
    return list(read_solutions(job.inputs["labels"] / f"{part.value}.jsonl"))


def history(job: Job, part: Part) -> list[Path]:
    """Return the files of a part of earlier iterations, oldest first."""
    names = [name for name in job.inputs if name.startswith(HISTORY)]
    names.sort(key=lambda name: int(name.removeprefix(HISTORY)))  # 100 is later than 99
    return [job.inputs[name] / f"{part.value}.jsonl" for name in names]
