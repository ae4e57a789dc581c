"""Published process reward models: loaded, told apart, and tried before any compute is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

from iterative_grpo import plugins, timing, tokenizing
from iterative_grpo.types import Problem
from pipelines import building, policies
from pipelines.config import Config
from reward_models.encoding import UnfitTokenizer, UnreadableSolution
from reward_models.model import UntrainedHead
from reward_models.protocols import Scorer


class NoRewardModel(ValueError):
    """A reward model that cannot be found or read."""


def load(name: str, convention: str, dtype: str | None = None) -> Scorer:
    """Return a published reward model on the policy's device; no `dtype` keeps the checkpoint's.

    Raises NoRewardModel for one that cannot be had, UnfitTokenizer or UntrainedHead for one that
    is not of the convention.
    """
    module = module_of(convention)
    try:
        with timing.part(timing.INPUT_OUTPUT):
            return cast(Scorer, module.load(name, device=policies.device(), dtype=dtype))
    except (UnfitTokenizer, UntrainedHead):
        raise
    except (OSError, ValueError) as error:
        raise missing(name, convention, error) from None


def load_for(config: Config) -> Scorer:
    """Return the reward model of `reward: published`."""
    chosen = config.published
    return load(str(chosen.model), str(chosen.convention), chosen.dtype)


def settings(config: Config) -> Mapping[str, Any] | None:
    """Return what its rewards depend on, None for other rewards; where its files lie does not."""
    if config.reward != "published":
        return None
    return {
        **config.published.model_dump(mode="json", exclude={"model"}),
        "fingerprint": policies.identity(str(config.published.model)),
    }


def check(config: Config, problems: Sequence[Problem]) -> list[str]:
    """Refuse a reward model that could not judge this run; return lines on what was found.

    Its configuration, tokenizer and head are read, its other weights are not.

    Raises NoRewardModel for one that cannot be had, UnfitTokenizer or UntrainedHead for one that
    is not of its convention, and UnreadableSolution where a question leaves no room for an answer.
    """
    name, convention = str(config.published.model), str(config.published.convention)
    judge = unloaded(name, convention)
    _, marks = judge.render("1+1?", ["1+1=2", "#### 2"])
    if len(marks) != 2:
        raise UnfitTokenizer(
            f"the tokenizer of {name} keeps {len(marks)} of 2 step marks of convention "
            f"{convention}; take the tokenizer that was published with the model"
        )
    lengths = {problem.id: len(judge.render(problem.question, [""])[0]) for problem in problems}
    longest = max(lengths, key=lambda problem: lengths[problem])
    if lengths[longest] + config.max_tokens > judge.context:
        raise UnreadableSolution(
            f"{longest}: the question has {lengths[longest]} tokens as reward model {name} reads "
            f"it, and an answer has up to {config.max_tokens}, together more than its context of "
            f"{judge.context}; lower max_tokens, leave the question out, or take a reward model "
            "with more context"
        )
    lines = [
        f"rewards by {name} ({convention}, {config.published.dtype}): not trained, so that there "
        "are no sample, label and retrain phases"
    ]
    if config.segmentation.outputs and building.cuts_steps(config):
        lines.append(
            "not checked: whether its rewards depend on where texts are cut (segmentation), which "
            "needs stored samples"
        )
    return lines


def unloaded(name: str, convention: str) -> Any:
    """Return the judge without its weights: it renders what it would read, and its context."""
    from transformers import AutoConfig

    module = module_of(convention)
    try:
        found = AutoConfig.from_pretrained(name, trust_remote_code=False)
        tokenizer = tokenizing.load(name, trust_remote_code=False)
        if hasattr(module, "head_weights"):
            module.head_weights(name)
    except UntrainedHead:
        raise
    except (OSError, ValueError) as error:
        raise missing(name, convention, error) from None
    try:
        return module.judge(SimpleNamespace(config=found), tokenizer)
    except UnfitTokenizer as error:
        raise UnfitTokenizer(f"reward model {name}: {error}") from None


def module_of(convention: str) -> Any:
    """Return a convention's module; an unknown one is refused with the known names."""
    return plugins.find("reward_models.published", convention, "reward convention")


def missing(name: str, convention: str, error: Exception) -> NoRewardModel:
    """Return the error for a checkpoint that transformers cannot read."""
    return NoRewardModel(
        f"reward model {name} cannot be loaded: {error}. Expected a folder with a transformers "
        f"checkpoint of convention {convention}, or its name on the hub"
    )
