"""Names in the configuration to the parts they name. `supervision` is read here, and only here."""

from __future__ import annotations

from collections.abc import Mapping
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


def splitter(config: Config) -> Splitter:
    """Return what cuts a solution into steps."""
    name = splitter_name(config)
    given = config.splitter_options if cuts_steps(config) else {}
    return cast(Splitter, _made("iterative_grpo.splitters", name, "splitter", given))


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
    return cast(CreditRule, _made("iterative_grpo.advantages", name, "credit rule", options))


def try_splitter(config: Config) -> None:
    """Cut a text with the configured splitter; raise BrokenPlugin if that does not work.

    UnknownField and UnfitValue are of its options.
    """
    name, text = config.splitter, "1+1=2\n2+2=4"
    made = _made("iterative_grpo.splitters", name, "splitter", config.splitter_options)
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


def labeler_options(config: Config) -> dict[str, Any]:
    """Return the options of the configured labeler as the types that it annotates."""
    label = config.label
    build = plugins.find("reward_models.labels", label.labeler, "labeler", ("build",)).build
    who = f"labeler {label.labeler}"
    return plugin_options.arguments("label.labeler_options", label.labeler_options, build, who)


def reward_options(config: Config) -> dict[str, Any]:
    """Return the options of the configured reward source as the types that it annotates."""
    build = plugins.find("reward_models.sources", config.reward, "reward", ("build",)).build
    who = f"reward {config.reward}"
    return plugin_options.arguments("reward_options", config.reward_options, build, who)


def _made(package: str, name: str, kind: str, given: Mapping[str, Any]) -> Any:
    """Return a splitter or a credit rule made with its options."""
    attribute, key = {
        "splitter": ("Splitter", "splitter_options"),
        "credit rule": ("Rule", "credit_options"),
    }[kind]
    maker = getattr(plugins.find(package, name, kind, (attribute,)), attribute)
    options = plugin_options.arguments(key, given, maker, f"{kind} {name}")
    with plugins.working(kind, name):
        return maker(**options)


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
