"""What is checked before any compute is spent: fields, engine, data, prompts, rewards, disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pipelines import (
    decontamination,
    dividing,
    launch_file,
    memory,
    policies,
    published,
    questions,
    runs,
    trackers,
    trl_settings,
    trl_vllm,
    unloaded,
)
from pipelines.config import Config
from pipelines.datasets import DataError
from pipelines.phases import sample
from pipelines.progress import Progress
from pipelines.runs import RunError
from reward_models.division import EmptyPart

LEAST_DISK = 64 * 2**20


def check(config: Config, progress: Progress) -> None:
    """Load every split that the run will read, and look for room; say what was found."""
    from pipelines.phases.evaluate import tasks

    trl_settings.check(config)
    trackers.check(config.report_to)
    unloaded.check(config)
    policies.check_engine(config.engine, config.engine_options)
    resumable(config)
    runs.check_folder(config.run_dir)
    room(config.run_dir)
    split = questions.training(config)
    progress.note(
        f"train on {split.name}: {len(split.problems)} problems, "
        f"sha256 {split.fingerprint[:12]} ({split.source})"
        f"{'; ' + split.note if split.note else ''}"
    )
    if not split.problems:
        asked = len(questions.contamination(config).dropped)
        raise DataError(
            f"no training question is left of {split.source}: {len(split.rejected)} have "
            f"unreadable golds, {asked} are asked in the evaluation too (data.decontaminate), and "
            "one in twenty, at least one, is kept for the validation split; give more questions"
        )
    if config.learns_reward:
        first, later = config.sample.first_problems, config.sample.problems
        wanted = max(first or later, later if config.iterations > 1 else 0)
        if wanted > len(split.problems):
            progress.note(
                f"sample.problems or first_problems asks for {wanted:,} questions, and there are "
                f"{len(split.problems):,}: an iteration samples all of them"
            )
    if split.rejected:
        shown = "; ".join(split.rejected[:3])
        progress.note(f"left out for unreadable golds: {len(split.rejected)} ({shown})")
    for line in unloaded.check_prompts(config):
        progress.note(line)
    sampler = trl_vllm.check(config, split.problems)
    if sampler is not None:
        progress.note(sampler)
    if config.reward == "published":
        for line in published.check(config, split.problems):
            progress.note(line)
    for task in tasks(config):
        progress.note(f"evaluate on {task.line}")
    rules, steps = config.optimize.watch.retrain_when, config.optimize.steps
    watched = config.learns_reward or config.reward == "published" or rules.kl is not None
    if watched and steps < rules.window:
        progress.note(
            f"optimize.steps {steps} is below optimize.watch.retrain_when.window {rules.window}: "
            "the watch looks at means over that, and will say nothing"
        )
    if rounds_away(config):
        progress.note(
            f"policy.dtype is bfloat16: a step of optimize.learning_rate "
            f"{config.optimize.learning_rate:g} changes only weights below "
            f"{2**8 * config.optimize.learning_rate:.1g}, others are rounded back; keep float32 "
            "and set optimize.bf16, or train an adapter (policy.lora)"
        )
    for line in on_gpu(config):
        progress.note(line)
    if config.optimize.bf16 and launch_file.kind(config) == "DEEPSPEED":
        progress.note(
            "DeepSpeed rounds the policy's weights to bfloat16 when a policy phase begins, and "
            "what small steps of the iteration before have changed with them; FSDP does not"
        )
    for line in decontamination.lines(questions.contamination(config)):
        progress.note(line)
    draws(config)


def draws(config: Config) -> None:
    """Refuse what an iteration would draw for its reward model, though it be the last.

    Raises LeakedQuestion, and EmptyPart for an iteration without a question to measure on. With a
    ledger, draws depend on what is yet to be disputed: each iteration checks its own.
    """
    if not config.learns_reward:
        return
    known = 1 if config.sample.from_ledger else config.iterations
    drawn = [sample.drawn_in(config, iteration) for iteration in range(1, known + 1)]
    dividing.check_leaks(config, {p.id: p for problems in drawn for p in problems}.values())
    for iteration, problems in enumerate(drawn, start=1):
        try:
            dividing.check_parts(config, problems)
        except EmptyPart as error:
            raise EmptyPart(f"iteration {iteration}: {error}") from None


def rounds_away(config: Config) -> bool:
    """Whether the policy's weights are kept in a precision that loses most of their steps.

    A weight in bfloat16 has 8 bits: a change below half of its last one, 1/512 to 1/256 of the
    weight, is none. Weights of trained models are some 0.02.
    """
    policy = config.policy
    usual_weight = 0.02
    small = config.optimize.learning_rate < usual_weight / 2**8
    return policy.dtype == "bfloat16" and policy.lora is None and small


def on_gpu(config: Config) -> Iterator[str]:
    """Yield what there is to know before a GPU is used: little memory, or needless precision."""
    import torch

    if not torch.cuda.is_available():
        return
    room = gpu_memory()
    for phase in (memory.needed(config) or ()) if room else ():
        if phase.whole > room:
            samples = phase.cached > (phase.activations or 0)
            beside = "keys and values of outputs" if samples else f"gradients of {phase.of} at once"
            yield (
                f"{phase.phase} need about {memory.size(phase.whole)} for weights, optimizer state "
                f"and {beside}, and the GPU has {memory.size(room)}: it may run out of memory "
                "(optimize.gradient_checkpointing, optimize.micro_batch, policy.lora, "
                "reward_model.lora and engine_options.cache_gib need less)"
            )
    named = config.policy.model is not None
    if named and config.policy.dtype == "float32" and not config.optimize.bf16:
        yield (
            "optimize.bf16 is off: the policy is sampled and trained in float32, which takes a GPU "
            "several times as long"
        )
    if named and config.learns_reward and not config.reward_model.bf16:
        yield (
            "reward_model.bf16 is off: the reward model is trained in float32, which takes a GPU "
            "more time and memory"
        )


def gpu_memory() -> int:
    """Return the bytes of the first GPU, 0 if unknown; another process asks, and wakes it up."""
    asked = "import torch; print(torch.cuda.get_device_properties(0).total_memory)"
    command = [sys.executable, "-c", asked]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(found.stdout) if found.returncode == 0 else 0


def resumable(config: Config) -> None:
    """Refuse step checkpoints that several processes on CPUs could not go on from."""
    import torch
    import transformers
    from packaging.version import Version

    several = config.launch.processes > 1 and not torch.cuda.is_available()
    found, least = Version(transformers.__version__), Version("5.18")
    if several and config.optimize.checkpoint_every and found < least:
        raise RunError(
            f"transformers {found} cannot resume {config.launch.processes} processes on CPUs; "
            f"install {least} or newer, or leave out optimize.checkpoint_every"
        )


def room(run_dir: Path) -> None:
    """Refuse a run folder that cannot be made, and a disk that is as good as full."""
    existing = next(p for p in (run_dir, *run_dir.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise RunError(
            f"run_dir {run_dir}: {existing} is a file, expected a folder; give another run_dir"
        )
    free = shutil.disk_usage(existing).free
    if free < LEAST_DISK:
        raise RunError(
            f"{existing} has {free / 2**20:.0f} MiB free, at least {LEAST_DISK // 2**20} are "
            "needed; make room or give another run_dir"
        )
