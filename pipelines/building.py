"""Names in the configuration to the parts they name. `supervision` is read here, and only here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from iterative_grpo import plugins
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import CreditRule, Splitter
from pipelines.config import Config, Fit, RewardModelSettings

if TYPE_CHECKING:
    from reward_models.training import TrainingSettings


def splitter(config: Config) -> Splitter:
    """Return what cuts a solution into steps."""
    found = plugins.find("iterative_grpo.splitters", splitter_name(config), "splitter")
    return cast(Splitter, found.Splitter())


def splitter_name(config: Config) -> str:
    """Return the splitter's name: under outcome supervision the whole text is one step."""
    return {"outcome": "whole", "process": config.splitter}[config.supervision]


def cuts_steps(config: Config) -> bool:
    """Whether solutions are cut into steps at all."""
    return splitter_name(config) != "whole"


def continues_prefixes(config: Config) -> bool:
    """Whether labels need the policy to continue prefixes: steps, and a labeler that samples."""
    return cuts_steps(config) and config.label.labeler not in ("exact", "verdict")


def reads_checkpoints(engine: str) -> bool:
    """Whether an engine samples finished checkpoints alone, and no policy in training."""
    module = plugins.find("iterative_grpo.engines", engine, "engine")
    return bool(getattr(module, "READS_CHECKPOINTS", False))


def samples_in_training(config: Config) -> bool:
    """Whether the engine samples the policy between its steps; else TRL does, by `generate`."""
    return config.engine != "generate" and not reads_checkpoints(config.engine)


def credit_rule(config: Config) -> CreditRule:
    """Return the configured credit rule."""
    rules = plugins.find("iterative_grpo.advantages", config.credit, "credit rule")
    return cast(CreditRule, rules.Rule())


def normalizer(config: Config) -> Normalizer:
    """Return the group normalisation of the policy phase."""
    return Normalizer(scale=config.optimize.scale, std_floor=config.optimize.std_floor)


def lora(config: Config) -> Any:
    """Return PEFT's settings for a new adapter, or None."""
    if config.policy.lora is None:
        return None
    from peft import LoraConfig

    adapter = config.policy.lora
    targets = adapter.targets if isinstance(adapter.targets, str) else list(adapter.targets)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets,
    )


def training(config: RewardModelSettings, fit: Fit, seed: int) -> TrainingSettings:
    """Return how a reward model is trained: `fit` is the first training's or a later one's."""
    from reward_models.training import TrainingSettings

    return TrainingSettings(
        learning_rate=fit.learning_rate,
        optimizer=config.optimizer,
        muon_learning_rate=fit.muon_learning_rate,
        epochs=fit.epochs,
        batch_size=fit.batch,
        loss=config.loss,
        balance=config.balance,
        seed=seed,
    )
