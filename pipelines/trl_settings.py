"""TRL's settings of a policy phase: ours, and what `optimize.trl` adds to them."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import Any

from pipelines.config import Config


class UnknownField(ValueError):
    """A key of `optimize.trl` that TRL does not have, or that another setting decides."""


def arguments(config: Config, seed: int, iteration: int, checkpoints: Path) -> Any:
    """Return the `GRPOConfig` of a policy phase, the paper's where TRL's defaults differ from it.

    Args:
        config: the run's settings.
        seed: the phase's own.
        iteration: names the phase to trackers.
        checkpoints: where step checkpoints go.
    """
    from trl import GRPOConfig

    return GRPOConfig(**ours(config, seed, iteration, checkpoints), **config.optimize.trl)


def check(config: Config) -> None:
    """Raise UnknownField for what `optimize.trl` cannot set, before any compute is spent."""
    if not config.optimize.trl:
        return
    from trl import GRPOConfig

    known = {field.name for field in dataclasses.fields(GRPOConfig)}
    taken = ours(config, 0, 0, Path())
    for name in config.optimize.trl:
        if name in taken:
            raise UnknownField(
                f"optimize.trl.{name}: decided by the run's own settings (it would be "
                f"{taken[name]!r}); set it there (docs/configuration.md)"
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UnknownField(f"optimize.trl.{name}: trl.GRPOConfig has no such field.{hint}")


def ours(config: Config, seed: int, iteration: int, checkpoints: Path) -> dict[str, Any]:
    """Return the fields that the run's own settings decide."""
    import torch

    optimize = config.optimize
    outputs = optimize.prompts * optimize.group_size // config.launch.processes
    every = optimize.checkpoint_every
    return {
        "output_dir": str(checkpoints),
        "seed": seed,
        "data_seed": seed,
        "max_steps": optimize.steps,
        "per_device_train_batch_size": config.micro_batch,
        "gradient_accumulation_steps": outputs // config.micro_batch,
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
        "logging_steps": 1,
        "logging_first_step": True,
        "report_to": list(config.report_to) or "none",
        "run_name": f"{config.run_dir.name}-{iteration:02d}",
        "save_strategy": "steps" if every else "no",
        "save_steps": every or 1,
        "save_total_limit": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
