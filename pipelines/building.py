"""Names in the configuration to the parts they name. `supervision` is read here, and only here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from iterative_grpo import plugins
from iterative_grpo.credit import credit
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import CreditRule, Splitter
from iterative_grpo.types import check_ends
from pipelines import plugin_options

if TYPE_CHECKING:
    from pipelines.config import Config, Fit, RewardModelSettings
    from reward_models.training import TrainingSettings

STARTS = ("policy", "scratch")
"""What `reward_model.start` may be beside a model's path or name: of the policy's shape."""


def splitter(config: Config) -> Splitter:
    """Return what cuts a solution into steps."""
    return _splitter(splitter_name(config), config.splitter_options if cuts_steps(config) else {})


def splitter_name(config: Config) -> str:
    """Return the splitter's name: under outcome supervision the whole text is one step."""
    return {"outcome": "whole", "process": config.splitter}[config.supervision]


def cuts_steps(config: Config) -> bool:
    """Whether solutions are cut into steps at all."""
    return splitter_name(config) != "whole"


def continues_prefixes(config: Config) -> bool:
    """Whether labels need the policy to continue prefixes: steps, and a labeler that samples."""
    if not cuts_steps(config):
        return False
    module = plugins.find("reward_models.labels", config.label.labeler, "labeler")
    return bool(getattr(module, "CONTINUES", False))


def reads_checkpoints(engine: str) -> bool:
    """Whether an engine samples finished checkpoints alone, and no policy in training."""
    module = plugins.find("iterative_grpo.engines", engine, "engine")
    return bool(getattr(module, "READS_CHECKPOINTS", False))


def samples_in_training(config: Config) -> bool:
    """Whether the engine samples the policy between its steps; else TRL does, by `generate`."""
    return config.engine != "generate" and not reads_checkpoints(config.engine)


def credit_rule(config: Config) -> CreditRule:
    """Return the configured credit rule."""
    return rule(config.credit, config.credit_options)


def rule(name: str, options: Mapping[str, Any]) -> CreditRule:
    """Return the credit rule called `name`, made with its options."""
    package, kind = "iterative_grpo.advantages", "credit rule"
    make = _maker(package, name, kind, "Rule", "credit_options", options)
    with plugins.working(kind, name):
        return cast(CreditRule, make())


def labeler(config: Config) -> partial[Any]:
    """Return what makes the configured labeler of its tools."""
    key, label = "label.labeler_options", config.label
    given = label.labeler_options
    return _maker("reward_models.labels", label.labeler, "labeler", "build", key, given)


def reward_source(config: Config) -> partial[Any]:
    """Return what makes the configured reward source of its parts."""
    key, given = "reward_options", config.reward_options
    return _maker("reward_models.sources", config.reward, "reward", "build", key, given)


def try_splitter(config: Config) -> None:
    """Cut a text with the configured splitter; raise BrokenPlugin if that does not work.

    UnknownField and UnfitValue are of its options.
    """
    name, text = config.splitter, "1+1=2\n2+2=4"
    made = _splitter(name, config.splitter_options)
    with plugins.working("splitter", name):
        ends = made.split(text)
        check_ends(ends)
        if ends[-1] != len(text):
            raise ValueError(f"the last end of a text of {len(text)} characters is {ends[-1]}")


def try_credit_rule(config: Config) -> None:
    """Credit two outputs with the configured rule; raise as `try_splitter` does."""
    made = credit_rule(config)
    with plugins.working("credit rule", config.credit):
        credit(made, [[[1.0, 0.0], [0.5]]], normalizer(config))


def _splitter(name: str, options: Mapping[str, Any]) -> Splitter:
    package, kind = "iterative_grpo.splitters", "splitter"
    make = _maker(package, name, kind, "Splitter", "splitter_options", options)
    with plugins.working(kind, name):
        return cast(Splitter, make())


def _maker(
    package: str, name: str, kind: str, attribute: str, key: str, given: Mapping[str, Any]
) -> partial[Any]:
    """Return a plug-in's `attribute` with its options, as the types that it annotates.

    Raises UnknownName or BrokenPlugin, and UnknownField or UnfitValue for the setting `key`.
    """
    found = getattr(plugins.find(package, name, kind, (attribute,)), attribute)
    options = plugin_options.arguments(key, given, found, f"{kind} {name}")
    with plugins.working(kind, name):
        return partial(found, **options)


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
        bf16=config.bf16,
        seed=seed,
    )
