"""What can be said of the models that a run names before any weights are read.

Their configurations are loaded, and their modules made without memory (on torch's meta device).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from iterative_grpo import plugins, tokenizing
from iterative_grpo.context import positions
from pipelines import building, keywords, places, policies, published
from pipelines.config import Config, Lora
from pipelines.evaluation import scoring
from pipelines.phases import start
from pipelines.policies import first_line, reason
from reward_models import adapters
from reward_models.encoding import UnfitTokenizer
from reward_models.model import UntrainedHead, check_heads


class UnfitModel(ValueError):
    """A model or adapter that the run's settings name and that it cannot use."""


def check(config: Config) -> None:
    """Raise UnfitModel or PolicyError for a model or adapter that a phase would stop at."""
    policy = policy_config(config)
    judge = policy
    if config.learns_reward and config.reward_model.start not in building.STARTS:
        # What the first reward model started from may be gone once there is one.
        trained = places.phase(config.run_dir, 1, "retrain").exists()
        judge = None if trained else backbone_config(config.reward_model.start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what libraries have to say, they say in the phase
        if policy is not None:
            check_policy(config, policy)
        if config.learns_reward and judge is not None:
            check_judge(config, judge)
    check_evaluation(config)


def check_policy(config: Config, found: Any) -> None:
    """Refuse a policy that the engine cannot sample or TRL not train, and LoRA targets it lacks."""
    try:
        model = made(found, "AutoModelForCausalLM")
    except ValueError as error:
        refuse_unless_started(config, error)
        return
    if model.base_model is model:
        raise UnfitModel(
            f"policy.model {config.policy.model}: TRL cannot train a {type(model).__name__}, whose "
            "backbone and head are one module; choose another model"
        )
    engine = plugins.find("iterative_grpo.engines", config.engine, "engine")
    if hasattr(engine, "check_model"):
        try:
            engine.check_model(model)
        except ValueError as error:
            raise UnfitModel(f"policy.model {config.policy.model}: {error}") from None
    if config.policy.lora is not None:
        check_policy_lora(config, config.policy.lora, model)


def check_prompts(config: Config) -> list[str]:
    """Refuse a named policy's tokenizer, or a question that it cannot render or that is too long.

    Returns what is worth saying of the prompts. A policy that is made on the spot has no tokenizer
    yet: the start phase checks it before the first step. A run with a copy of its policy is past
    that.

    Raises PolicyError for a tokenizer that is missing or unfit, Unrenderable and PromptTooLong for
    a question.
    """
    if config.policy.model is None or started(config):
        return []
    name = str(config.policy.model)
    found = named_config(config)
    tokenizer = policies.load_tokenizer(name, config.policy)
    rows = getattr(found.get_text_config(), "vocab_size", None)
    if rows is not None:
        policies.check_vocabulary(rows, tokenizer, name)
    return start.check_prompts(config, tokenizer, positions(found))


def policy_config(config: Config) -> Any:
    """Return the configuration of the policy's model, None where nothing can be said of it.

    A model with code of its own may not stand being made without memory: the start phase, the
    first, refuses it if it cannot be loaded.
    """
    from transformers import LlamaConfig

    shape = config.policy.make
    if shape is not None:
        return LlamaConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            intermediate_size=3 * shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
        )
    if config.policy.trust_remote_code:
        return None
    return named_config(config)


def named_config(config: Config) -> Any:
    """Return the configuration of a named policy, None where it is gone and no longer needed."""
    from transformers import AutoConfig

    name, trust = str(config.policy.model), config.policy.trust_remote_code
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=trust)
    except (OSError, ValueError) as error:
        refuse_unless_started(config, error)
        return None


def refuse_unless_started(config: Config, error: Exception) -> None:
    """Raise PolicyError, but for a run that has a copy of its policy: it needs no original."""
    if not started(config):
        raise policies.unloadable(str(config.policy.model), error) from None


def started(config: Config) -> bool:
    """Whether a run's start phase has been finished: it has a copy of its policy."""
    return places.phase(config.run_dir, 0, "start").exists()


def backbone_config(name: str) -> Any:
    """Return the configuration of the model that `reward_model.start` names, or refuse it."""
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(name, trust_remote_code=False)
        tokenizing.load(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        hint = keywords.hint(name, building.STARTS)
        raise UnfitModel(
            f"reward_model.start {name} cannot be loaded: {reason(name, error)}.{hint} Expected "
            "scratch, policy, a folder with a transformers checkpoint, or a model's name on the hub"
        ) from None
    folder = Path(name)
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise UnfitModel(
            f"reward_model.start {name} has a configuration and no weights (*.safetensors); give "
            "a whole checkpoint, or set reward_model.start=scratch"
        )
    return found


def check_judge(config: Config, found: Any) -> None:
    """Refuse a backbone that takes no head, and LoRA targets that it does not have."""
    try:
        model = made(found, "AutoModelForTokenClassification")
    except ValueError:
        raise UnfitModel(
            f"reward_model.start {config.reward_model.start}: a reward model is a token "
            f"classifier, and transformers makes none of a {type(found).__name__}; name another "
            "model there"
        ) from None
    adapter = config.reward_model.lora
    if adapter is None:
        return
    owner: Any = SimpleNamespace(model=model)
    try:
        with adapters.lora(owner, **adapter.model_dump()):
            pass
    except ValueError as error:
        raise unfit_targets("reward_model.lora", adapter, model, error) from None


def check_policy_lora(config: Config, adapter: Lora, model: Any) -> None:
    """Refuse LoRA targets that the policy does not have, or a LoRA without the package for it."""
    try:
        from peft import get_peft_model
    except ImportError:
        raise UnfitModel("policy.lora needs the package peft: pip install peft") from None
    try:
        get_peft_model(model, building.lora(config))
    except ValueError as error:
        raise unfit_targets("policy.lora", adapter, model, error) from None


def unfit_targets(key: str, adapter: Lora, model: Any, error: Exception) -> UnfitModel:
    """Return the error for targets that PEFT refuses, with the names that it would take."""
    import torch

    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "." in name  # the head lies at the top
    }
    return UnfitModel(
        f"{key}.targets {adapter.targets!r} do not fit {type(model).__name__}: "
        f"{first_line(error)}. Expected all-linear, or some of {', '.join(sorted(linear))}"
    )


def check_evaluation(config: Config) -> None:
    """Refuse a reward model that could not choose among an evaluation's samples."""
    from transformers import AutoConfig

    name, convention = config.evaluate.reward_model, config.evaluate.reward_convention
    if name is None:
        return
    try:
        if convention is not None:
            published.unloaded(name, convention)
        else:
            check_heads(AutoConfig.from_pretrained(name, trust_remote_code=False), name)
    except (UntrainedHead, published.NoRewardModel, UnfitTokenizer) as error:
        raise UnfitModel(f"evaluate.reward_model: {first_line(error)}") from None
    except (OSError, ValueError) as error:
        told = scoring.unreadable(name, error, "evaluate.reward_convention")
        raise UnfitModel(f"evaluate.reward_model {told}") from None


def made(config: Any, kind: str) -> Any:
    """Return a configuration's model as an auto class of transformers makes it, without memory."""
    import torch
    import transformers

    with torch.device("meta"):
        return getattr(transformers, kind).from_config(config)
