"""TRL's settings of a policy phase: ours, and what `optimize.trl` adds to them."""

from __future__ import annotations

import dataclasses
import typing
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines import building, keywords
from pipelines.config import Config
from pipelines.keywords import UnfitValue, UnknownField

DECIDED = {
    "steps_per_generation": "optimize.updates and optimize.micro_batch",
    "generation_batch_size": "optimize.prompts and optimize.group_size",
    "logging_strategy": "the run, whose log has every step",
    "reward_weights": "the run's reward source (reward, mixture)",
    "ddp_timeout": "the run, whose processes wait for each other for a week",
    "save_only_model": "the run, whose step checkpoints resume exactly",
    "enable_jit_checkpoint": "the run: a phase that a signal ended early would count as finished",
    **dict.fromkeys(
        ("deepspeed", "fsdp", "fsdp_config", "parallelism_config"),
        "launch.config_file, accelerate's own configuration",
    ),
    "eval_strategy": "the run, which evaluates after each policy phase (evaluate)",
}
"""Fields that `ours` leaves at TRL's defaults and that may not be others, and what decides them."""

OF_GENERATE = ("min_p", "repetition_penalty", "generation_kwargs", "cache_implementation")
"""Fields that TRL's own sampling reads, and that the engines which sample in training do not."""


def arguments(config: Config, seed: int, iteration: int, checkpoints: Path) -> Any:
    """Return the `GRPOConfig` of a policy phase, the paper's where TRL's defaults differ from it.

    Args:
        config: the run's settings.
        seed: the phase's own.
        iteration: names the phase to trackers.
        checkpoints: where step checkpoints go.
    """
    from trl import GRPOConfig

    return GRPOConfig(**ours(config, seed, iteration, checkpoints), **typed(config.optimize.trl))


def check(config: Config) -> None:
    """Refuse what TRL could not train with, before any compute is spent.

    Raises UnknownField for what `optimize.trl` cannot set, UnfitValue for values that do not fit.
    """
    optimize = config.optimize
    given = optimize.trl
    if not given:
        return
    from transformers.utils.import_utils import is_torch_tf32_available
    from trl import GRPOConfig

    known = {field.name for field in dataclasses.fields(GRPOConfig)}
    taken = ours(config, 0, 0, Path())
    for name in given:
        if name in DECIDED:
            raise UnknownField(f"optimize.trl.{name}: decided by {DECIDED[name]}; leave it out")
        if name in taken:
            raise UnknownField(
                f"optimize.trl.{name}: decided by the run's own settings (it would be "
                f"{taken[name]!r}); set it there (docs/configuration.md)"
            )
        if name not in known:
            hint = keywords.hint(name, known)
            raise UnknownField(f"optimize.trl.{name}: trl.GRPOConfig has no such field.{hint}")
        if name in OF_GENERATE and optimize.vllm == "off" and building.samples_in_training(config):
            raise UnknownField(
                f"optimize.trl.{name}: engine {config.engine} does not sample by it; set "
                "engine=generate, or leave it out"
            )
    values = typed(given)
    if values.get("tf32") and not is_torch_tf32_available():
        raise UnfitValue("optimize.trl.tf32: needs a GPU of Ampere or newer; leave it out")
    try:
        _sampled_with(_rehearsed(config, taken, values))
    except (ValueError, TypeError, NotImplementedError, ImportError, OSError) as error:
        written = ", ".join(f"{name}: {value}" for name, value in given.items())
        reason = " ".join(str(error).split())
        raise UnfitValue(f"optimize.trl {{{written}}} cannot be trained with: {reason}") from None


def typed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `optimize.trl` as the types that TRL's fields are annotated with.

    Raises UnfitValue for values of other types.
    """
    if not given:
        return {}
    from trl import GRPOConfig

    return keywords.typed("optimize.trl", given, typing.get_type_hints(GRPOConfig))


def _rehearsed(config: Config, taken: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """Return the phase's `GRPOConfig`, made without a look at devices and other processes.

    The real one sets up this process's device, which launched phases have to themselves.
    """
    import torch
    from trl import GRPOConfig

    class Rehearsed(GRPOConfig):
        @property
        def device(self) -> torch.device:
            return torch.device("cpu")

        @property
        def world_size(self) -> int:
            return config.launch.processes

    # Made with it, a `GRPOConfig` changes how this process multiplies matrices.
    harmless = {name: value for name, value in values.items() if name != "tf32"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told in the phase
        return Rehearsed(**taken, **harmless)


def _sampled_with(arguments: Any) -> None:
    """Make what samples with these settings: the engine's request, and what `generate` reads."""
    import transformers

    from iterative_grpo.types import Sampling

    Sampling(
        group_size=arguments.num_generations,
        max_tokens=arguments.max_completion_length,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        top_k=arguments.top_k or 0,
    )
    if arguments.min_p is not None:
        transformers.MinPLogitsWarper(arguments.min_p)
    transformers.RepetitionPenaltyLogitsProcessor(arguments.repetition_penalty)
    more = arguments.generation_kwargs or {}
    known = vars(transformers.GenerationConfig())
    for name in more:
        if name not in known:
            raise ValueError(f"transformers.GenerationConfig has no generation_kwargs {name!r}")
    transformers.GenerationConfig(**{"do_sample": True, **more})


def ours(config: Config, seed: int, iteration: int, checkpoints: Path) -> dict[str, Any]:
    """Return the fields that the run's own settings decide."""
    import torch

    optimize = config.optimize
    every = optimize.checkpoint_every
    return {
        "output_dir": str(checkpoints),
        "seed": seed,
        "data_seed": seed,
        "max_steps": optimize.steps,
        "per_device_train_batch_size": config.micro_batch,
        "gradient_accumulation_steps": config.accumulation,
        "num_generations": optimize.group_size,
        "num_iterations": optimize.updates,
        "max_completion_length": config.max_tokens,
        "temperature": optimize.temperature,
        "learning_rate": optimize.learning_rate,
        "lr_scheduler_type": optimize.schedule,
        "warmup_steps": optimize.warmup_steps,
        "weight_decay": optimize.weight_decay,
        "max_grad_norm": optimize.max_grad_norm,
        "beta": optimize.beta,
        "epsilon": optimize.epsilon,
        "loss_type": optimize.loss,
        "scale_rewards": optimize.scale,
        # The paper's estimator is unbiased for samples of the policy: no second correction.
        "use_bias_correction_kl": False,
        "mask_truncated_completions": optimize.mask_truncated,
        "gradient_checkpointing": optimize.gradient_checkpointing,
        "bf16": optimize.bf16,
        "use_cpu": not torch.cuda.is_available(),
        "use_vllm": optimize.vllm != "off",
        **({} if optimize.vllm == "off" else {"vllm_mode": optimize.vllm}),
        "trust_remote_code": config.policy.trust_remote_code,
        # Else policy and reference differ by noise before the first step, and ratios with them.
        "disable_dropout": True,
        "logging_steps": 1,
        "logging_first_step": True,
        "report_to": list(config.report_to) or "none",
        "run_name": f"{config.run_dir.name}-{iteration:02d}",
        "save_strategy": "steps" if every else "no",
        "save_steps": every or 1,
        "save_total_limit": None,  # `pipelines/checkpoints.py` removes those that are not needed
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
