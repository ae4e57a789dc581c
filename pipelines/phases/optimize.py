"""Improve the policy by GRPO; the reference is the policy at this phase's start (Algorithm 1).

Step checkpoints are taken between generations and resume exactly: the order of questions is fixed
beforehand, so that nothing depends on a sampler's state.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from iterative_grpo import plugins, timing
from iterative_grpo.context import positions
from iterative_grpo.types import Problem
from pipelines import (
    building,
    checkpoints,
    failures,
    plugin_options,
    policies,
    prompts,
    published,
    questions,
    segmentation,
    trl_settings,
    trl_vllm,
    verifying,
    world,
)
from pipelines.artifacts import LOG, WORK, ArtifactError, flush, write_json
from pipelines.caller import keep_imports
from pipelines.config import Config
from pipelines.phases import sample
from pipelines.runs import Job, Phase
from pipelines.watching import Watching, ledger


def settings(config: Config) -> Mapping[str, Any]:
    """Return the settings that the new policy depends on.

    Rows computed together are no part of it, but in `bnpo`'s mean of micro-batches' means and
    in quantiles of a micro-batch: a run that ran out of memory goes on with fewer.
    """
    how = {"checkpoint_every", "gradient_checkpointing"}
    exact = not config.learns_reward or config.reward_model.dtype == "float32"
    by_batch = config.optimize.loss == "bnpo" or "top_entropy_quantile" in config.optimize.trl
    how |= set() if by_batch else {"micro_batch"}
    return {
        "optimize": config.optimize.model_dump(mode="json", exclude=how),
        "supervision": config.supervision,
        "splitter": config.splitter,
        "credit": config.credit,
        "reward": config.reward,
        "reward_options": plugin_options.recorded(config.reward_options),
        "splitter_options": plugin_options.recorded(config.splitter_options),
        "credit_options": plugin_options.recorded(config.credit_options),
        "mixture": config.mixture.model_dump(mode="json"),
        "published": published.settings(config),
        "max_tokens": config.max_tokens,
        "engine": config.engine,
        "judged_in": None if exact else config.reward_model.dtype,
        "lora": config.policy.lora.model_dump(mode="json") if config.policy.lora else None,
        "data": sample.questions_settings(config),
    }


PHASE = Phase("optimize", settings, resumable=True)


def run(job: Job) -> None:
    """Write policy/ (the new policy), rollouts, questions, the watch's record, and the ledger."""
    from transformers import PrinterCallback

    with timing.part(timing.INPUT_OUTPUT):  # TRL takes seconds to import, once a process
        from iterative_grpo.trainer import Credit, IterativeGRPOTrainer
        from iterative_grpo.trl_seam.kl_control import KLControl

        keep_imports()

    config = job.config
    place = world.current(config.launch.processes)
    start = job.inputs["policy"] / "policy"
    model, tokenizer = policies.load(start, config.policy, at=first_place())
    initial = initial_policy(job)  # before TRL's settings: behind them, models come in shards
    trained = job.output / WORK / "checkpoints"
    last = checkpoints.last(trained)
    place.wait()  # until all have seen the same ones
    if place.first:
        checkpoints.keep_only(trained, last)
    parts = reward_parts(job)
    segmentation.check(job, parts, place)
    visits = task(job, model, tokenizer)
    if place.first:
        write_questions(job.output / "questions.jsonl", visits.problems)
    steps = StepLog(job, place, resumed_at=checkpoints.step(last) if last else 0)
    if steps.resumed_at and place.first:
        job.progress.note(
            f"optimize: goes on behind step {steps.resumed_at} of {config.optimize.steps}"
        )
    watching = Watching(config.optimize.watch)
    target = config.optimize.kl_target
    with job.progress.bar("optimize", config.optimize.steps, "steps") as bar:
        bar.advance(steps.resumed_at)
        trainer = IterativeGRPOTrainer(
            model,
            args=trl_settings.arguments(config, job.seed, job.iteration, trained),
            task=visits,
            source=reward_source(config, parts),
            credit=Credit(building.credit_rule(config), building.normalizer(config)),
            tokenizer=tokenizer,
            truth=verifying.truth(config),
            engine=live_engine(config),
            record=steps.record,
            initial=initial,
            kl_control=None if target is None else KLControl(target),
            callbacks=[callback(job, steps, bar, watching, place)],
            peft_config=building.lora(config),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=last and str(last))
    done = int(trainer.state.global_step)
    if done < config.optimize.steps and not watching.stopped:
        # Sealed, it would count as a whole phase.
        raise failures.PhaseFailed(
            f"training ended at step {done} of {config.optimize.steps} of iteration "
            f"{job.iteration}; the same command goes on"
        )
    finished = trainer.finished()
    if config.policy.lora is not None and place.first:
        # The adapter is merged, so that the next iteration's reference is this policy.
        finished = finished.merge_and_unload()
    if place.first:
        policies.check_finite(finished, f"the policy of iteration {job.iteration}")
        policies.save(finished, tokenizer, job.output / "policy")
    place.merge(job.output, "rollouts.jsonl", kept=job.output / WORK)
    if place.first:
        conclude(job, watching)
    place.wait()
    if trainer.use_vllm:
        trl_vllm.end(trainer)


def conclude(job: Job, watching: Watching) -> None:
    """Write what the watch said, with the four cells of the ledger, and the ledger itself."""
    record = watching.as_row()
    made = ledger(job.output / "rollouts.jsonl", job.seed)
    if made is not None:
        made.write(job.output / "ledger.jsonl")
        record["cells"] = made.counts
    write_json(job.output / "watch.json", record)


def tell(job: Job, watching: Watching) -> None:
    """Say what the watch has called for, and why."""
    advice = "would retrain" if job.config.learns_reward else "distrusts the reward model"
    verb = "ended the phase" if watching.stopped else advice
    job.progress.note(f"watch: {verb} at step {watching.step}: {watching.reason}")


def starts_at_initial(job: Job) -> bool:
    """Whether the reference, which the loss measures the KL to, is the run's initial policy."""
    return job.iteration == 1 and job.config.optimize.beta > 0


def initial_policy(job: Job) -> Any:
    """Return the run's initial policy to measure the distance from, None where there is no need."""
    from iterative_grpo.divergence import Initial

    outputs = job.config.optimize.kl_initial_outputs
    if not outputs or starts_at_initial(job):
        return None
    model, _ = policies.load(job.inputs["initial"] / "policy", job.config.policy, at=first_place())
    return Initial(model.requires_grad_(False), outputs)


def first_place() -> str:
    """Return where policies are loaded to: in shards they get to the GPU, and not as a whole."""
    return "cpu" if world.sharded() else policies.device()


def task(job: Job, model: Any, tokenizer: Any) -> Any:
    """Return the questions of all steps in their order, rendered and tokenised once."""
    from iterative_grpo.trainer import Task

    config = job.config
    optimize = config.optimize
    drawn = questions.draw(
        questions.training(config).problems, optimize.explorations * optimize.prompts, job.seed
    )
    form = prompts.find(sample.prompt_name(config), config.data.path)
    rendered = sample.prompts_of(config, drawn, tokenizer, positions(model.config))
    texts = [form.render(problem, tokenizer) for problem in drawn]
    return Task(drawn, rendered, texts, form.STOP)


def write_questions(file: Path, problems: Sequence[Problem]) -> None:
    """Write the questions that the rollouts answer, each once: the report shows them."""
    rows = {p.id: {"id": p.id, "question": p.question, "answer": p.answer} for p in problems}
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values())
    file.write_text("".join(lines), encoding="utf-8")


def reward_parts(job: Job) -> Any:
    """Return what reward sources are made of, with the reward model of this iteration."""
    from reward_models.model import RewardModel
    from reward_models.protocols import Parts

    config = job.config
    model = None
    if "reward_model" in job.inputs:
        model = RewardModel.load(
            job.inputs["reward_model"] / "model",
            device=policies.device(),
            dtype=config.reward_model.dtype,
        )
    return Parts(
        splitter=building.splitter(config),
        verify=verifying.verifier(config),
        check_steps=verifying.step_check(config),
        model=model,
        published=published.load_for(config) if config.reward == "published" else None,
        seed=config.seed,
        **config.mixture.model_dump(),
    )


def reward_source(config: Config, parts: Any) -> Any:
    """Return the configured reward source."""
    with plugins.working("reward", config.reward):
        return building.reward_source(config)(parts)


def live_engine(config: Config) -> Callable[[Any, Any], Any] | None:
    """Return what samples the policy between steps; None leaves it to TRL."""
    if config.optimize.vllm != "off" or not building.samples_in_training(config):
        return None
    return policies.live_loader(config)


class StepLog:
    """The phase's own log: one line a step, one line a rollout; a resume cuts what is redone."""

    def __init__(self, job: Job, place: world.World, resumed_at: int) -> None:
        self.resumed_at = resumed_at
        self._job, self._place = job, place
        self._from_reference = starts_at_initial(job) and job.config.optimize.kl_initial_outputs > 0
        self._steps = job.output / LOG / "steps.jsonl"
        self._steps.parent.mkdir(exist_ok=True)
        self._rollouts = job.output / WORK / world.shard("rollouts.jsonl", place.rank)
        self._rollouts.parent.mkdir(exist_ok=True)
        config = job.config
        if place.first:
            keep_until(self._steps, resumed_at, lines=resumed_at)
        generations = -(-resumed_at // config.optimize.updates)
        outputs = config.micro_batch * config.accumulation
        keep_until(self._rollouts, resumed_at, lines=generations * outputs)

    def flush(self) -> None:
        """Have on disk what a checkpoint of now goes on behind."""
        for file in (self._rollouts, self._steps):
            if file.exists():
                flush(file)

    def record(self, step: int, rollouts: list[Any]) -> None:
        """Append this process's rollouts of a generation."""
        with self._rollouts.open("a", encoding="utf-8") as out:
            for rollout in rollouts:
                row = rollout.as_row(iteration=self._job.iteration, step=step)
                out.write(json.dumps(row, ensure_ascii=False) + "\n")

    def row(self, step: int, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the figures of an optimizer step, under this project's names."""
        row: dict[str, Any] = {"iteration": self._job.iteration, "step": step}
        for name, value in logs.items():
            if isinstance(value, (int, float)) and name not in ("epoch", "total_flos", "step"):
                row[RENAMED.get(name, name)] = value
        if self._from_reference and "kl" in row:
            row["kl_initial"] = row["kl"]
        if self._job.config.reward == "mixture":
            mixture = self._job.config.mixture
            row["weight/verifier"] = mixture.verifier_weight
            row["weight/model"] = mixture.model_weight
            # The share of outputs that have a part is logged where some have it.
            row.setdefault("share/verifier", float("reward/verifier" in row))
        return row

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a step's figures."""
        if self._place.first:
            with self._steps.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")


RENAMED = {
    "completions/mean_length": "completion_length",
    "clip_ratio/region_mean": "clip_ratio",
    "frac_reward_zero_std": "frac_zero_std",
    "num_tokens": "tokens",
    "step_time": "seconds",
}


def keep_until(file: Path, step: int, lines: int) -> None:
    """Cut off what follows the `lines` lines of steps up to `step`, which the checkpoint is behind.

    In place: what is before is not made again, and is not written again either. Raises
    ArtifactError, and cuts nothing, if the file does not begin with so many.
    """
    found = kept = 0
    if file.exists():
        with file.open("rb") as log:
            for line in log:
                at = step_of(line)
                if at is None or at > step:
                    break
                found, kept = found + 1, kept + len(line)
    if found != lines:
        raise ArtifactError(
            f"{file}: {found} whole lines of steps 1 to {step} where {lines} were written before "
            f"the checkpoint; the file was changed. Restore it, or move {file.parents[1]} away to "
            "make the phase again"
        )
    if file.exists():
        os.truncate(file, kept)


def step_of(line: bytes) -> int | None:
    """Return the step of a log's line, None if the line is no whole one."""
    try:
        return int(json.loads(line)["step"]) if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None


def callback(job: Job, steps: StepLog, bar: Any, watching: Watching, place: world.World) -> Any:
    """Return a callback that writes the step log, asks the watch, and seals checkpoints."""
    from transformers import TrainerCallback

    class Follow(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # After a resume the checkpoint's log brings the watch to where it was.
            for logs in state.log_history:
                if "loss" in logs:
                    watching.see(steps.row(int(logs["step"]), logs))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            row = steps.row(int(state.global_step), logs)
            steps.write(row)
            check_step(row)
            silent = watching.reason is None
            stopping = watching.see(row)
            if silent and watching.reason is not None and place.first:
                tell(job, watching)  # at once: the policy may be ruined before the phase ends
            if stopping:
                # Without a checkpoint here, a resume makes this step again and stops at it again.
                control.should_training_stop, control.should_save = True, False
            shown = f"reward {row.get('reward', float('nan')):.3f}"
            if "verifier_accuracy" in row:
                shown += f", right {row['verifier_accuracy']:.0%}"
            if "kl" in row:
                shown += f", KL {row['kl']:.3f}"
            bar.advance(1, shown)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            steps.flush()
            place.wait()  # each process has files of its own in it
            if place.first:
                checkpoints.seal(Path(args.output_dir), int(state.global_step))

    return Follow()


def check_step(row: Mapping[str, Any]) -> None:
    """Refuse to go on behind a step that made the weights no numbers."""
    broken = [name for name in ("loss", "grad_norm") if not math.isfinite(row.get(name, 0.0))]
    if broken:
        raise policies.PolicyError(
            f"step {row['step']} of iteration {row['iteration']}: {' and '.join(broken)} "
            f"{'is' if len(broken) == 1 else 'are'} not finite: the policy diverged. Lower "
            "optimize.learning_rate, or raise optimize.beta"
        )
