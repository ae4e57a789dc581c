"""Settings that contradict each other, found without loading a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from iterative_grpo import plugins
from pipelines import building, keywords, launch_file, making, prompts
from pipelines.chosen import chosen

if TYPE_CHECKING:
    from pipelines.config import Config


NO_PLUGIN = (plugins.UnknownName, plugins.BrokenPlugin)


def conflicts(config: Config) -> Iterator[str]:
    """Yield every way in which settings do not fit each other; one may come twice."""
    for choice in chosen(config):
        try:
            choice.find()
        except NO_PLUGIN as error:
            yield str(error)
    yield from _plugin_conflicts(config)
    policy, optimize = config.policy, config.optimize
    if (policy.model is None) == (policy.make is None):
        yield (
            "policy: give either `policy.model` (a path or hub name) or `policy.make` (a small "
            "model made on the spot), and not both"
        )
    if policy.model is not None and policy.warm_start is not None:
        yield (
            "policy.warm_start trains a policy made on the spot (policy.make); policy.model is "
            "taken as it is: set policy.warm_start=null"
        )
    yield from _shape_conflicts(config)
    outputs = optimize.prompts * optimize.group_size
    processes = config.launch.processes
    if outputs % processes:
        yield f"{outputs} outputs a step cannot be divided over {processes} processes"
    elif (outputs // processes) % config.micro_batch:
        yield (
            f"optimize.micro_batch {config.micro_batch} does not divide the {outputs // processes} "
            f"outputs a step of a process (prompts {optimize.prompts} x group_size "
            f"{optimize.group_size} / processes {processes})"
        )
    sizes = config.micro_batch, optimize.group_size
    if max(sizes) % min(sizes):
        yield (
            f"a micro-batch of {config.micro_batch} outputs holds neither whole groups of "
            f"optimize.group_size {optimize.group_size} nor an even part of one"
        )
    if optimize.checkpoint_every % optimize.updates:
        yield (
            f"optimize.checkpoint_every {optimize.checkpoint_every} is no multiple of "
            f"optimize.updates {optimize.updates}: a checkpoint between two updates on one "
            "exploration cannot resume exactly"
        )
    if processes > 1 and config.launch.mode == "inline":
        yield f"launch.processes is {processes}: launch.mode must be accelerate"
    yield from launch_file.conflicts(config)
    yield from no_folder("data.path", config.data.path)
    yield from _published_conflicts(config)
    yield from _watch_conflicts(config)
    yield from _scale_conflicts(config)
    if optimize.vllm != "off" and policy.make is not None:
        yield "optimize.vllm needs a policy.model that vLLM can serve, not policy.make"
    yield from _stop_conflicts(config)
    if config.reward == "uncertain" and config.reward_model.heads < 2:
        yield "reward uncertain needs an ensemble: set reward_model.heads to 4 or more"
    if config.reward_model.calibrate != "none" and config.reward_model.validation == 0:
        yield "reward_model.calibrate is fitted on validation questions: raise validation above 0"
    if config.reward_model.held_out == 0:
        yield "reward_model.held_out is 0: a reward model that nothing measures cannot be trusted"
    if config.reward_model.held_out + config.reward_model.validation >= 1:
        yield (
            f"reward_model.held_out {config.reward_model.held_out} and validation "
            f"{config.reward_model.validation} leave no question to learn from"
        )
    if config.reward_model.start not in ("scratch", "policy") and policy.trust_remote_code:
        yield "reward_model.start: a named reward model is never loaded with remote code"


def _plugin_conflicts(config: Config) -> Iterator[str]:
    """Yield what is wrong with plug-ins on the smallest input, and with their options."""
    for attempt in (
        building.try_splitter,
        building.try_credit_rule,
        building.labeler,
        building.reward_source,
    ):
        try:
            attempt(config)
        except (*NO_PLUGIN, keywords.UnknownField, keywords.UnfitValue) as error:
            yield str(error)


def no_folder(key: str, path: Path | None) -> Iterator[str]:
    """Yield what is wrong with the folder that data sets are to be read from."""
    if path is not None and not path.is_dir():
        yield (
            f"{key} {path} is no folder (seen from {Path.cwd()}); give one with JSON Lines, or "
            "leave it out to read from the hub"
        )


def _shape_conflicts(config: Config) -> Iterator[str]:
    """Yield sizes of which no small policy can be made."""
    shape = config.policy.make
    if shape is None:
        return
    if shape.width % (2 * shape.heads):
        yield (
            f"policy.make.width is {shape.width}, which gives {shape.heads} heads (policy.make."
            f"heads) no even number of dimensions each, as rotary positions need; give a multiple "
            f"of {2 * shape.heads}"
        )
    if shape.tokenizer == "bpe" and shape.vocabulary < making.LEAST_BPE:
        yield (
            f"policy.make.vocabulary is {shape.vocabulary}; a bpe tokenizer needs at least "
            f"{making.LEAST_BPE}, every byte and the special tokens"
        )
    if config.max_tokens >= shape.context:
        yield (
            f"max_tokens is {config.max_tokens} but the policy's context has "
            f"{shape.context} positions, prompt included; lower max_tokens or raise "
            "policy.make.context"
        )


def _stop_conflicts(config: Config) -> Iterator[str]:
    """Yield what cannot train on prompts whose answers end at stop strings."""
    if config.policy.prompt is None:
        return
    try:
        if not prompts.stop_strings(config.policy.prompt):
            return
        stops = config.optimize.vllm == "off" and building.samples_in_training(config)
    except NO_PLUGIN as error:
        yield str(error)
        return
    name = config.policy.prompt.replace("-", "_")
    if not stops:
        yield (
            f"policy.prompt {name} ends answers at stop strings, which TRL's own sampling does not "
            "know: set engine=native and optimize.vllm=off"
        )
    if config.optimize.mask_truncated:
        yield (
            f"policy.prompt {name} ends answers at stop strings, and optimize.mask_truncated "
            "leaves out every answer without EOS: set it to false"
        )


def _published_conflicts(config: Config) -> Iterator[str]:
    """Yield what a published reward model lacks, or one that nothing would ask."""
    chosen = {"model": config.published.model, "convention": config.published.convention}
    if config.reward == "published":
        known = ", ".join(plugins.names("reward_models.published"))
        meaning = {"model": "its path or hub name", "convention": f"how it is read ({known})"}
        for key, value in chosen.items():
            if value is None:
                yield f"reward published needs published.{key}: {meaning[key]}"
        return
    given = " and ".join(f"published.{key}" for key, value in chosen.items() if value is not None)
    if given:
        yield (
            f"{given} given, but reward {config.reward} asks no published reward model: set "
            "reward=published, or leave it out"
        )


def _watch_conflicts(config: Config) -> Iterator[str]:
    optimize = config.optimize
    if optimize.kl_target is not None and not optimize.beta:
        yield (
            "optimize.kl_target moves optimize.beta by factors, and optimize.beta is 0; give it a "
            "start such as 0.04"
        )
    if optimize.watch.action == "stop" and not config.learns_reward:
        yield (
            f"optimize.watch.action is stop, but reward {config.reward} has no reward model that "
            "could be retrained early; leave it at report"
        )
    if optimize.watch.retrain_when.kl is not None and not optimize.kl_initial_outputs:
        yield (
            "optimize.watch.retrain_when.kl needs the KL to the initial policy, and "
            "optimize.kl_initial_outputs is 0; set it to 16, say"
        )


def _scale_conflicts(config: Config) -> Iterator[str]:
    """Yield a credit rule with a threshold for a mixture that moves it."""
    from pipelines import building

    if config.reward != "mixture" or not building.cuts_steps(config):
        return  # with one step an output, every rule is normalised before it is used
    try:
        rule = plugins.find("iterative_grpo.advantages", config.credit, "credit rule")
    except (plugins.UnknownName, plugins.BrokenPlugin):
        return  # told already
    mixture = config.mixture
    verified, others = mixture.verifier_weight + mixture.model_weight, mixture.model_weight
    worths = {
        worth
        for worth, share in (
            (verified, mixture.verified_share),
            (others, 1 - mixture.verified_share),
        )
        if share > 0
    }
    if getattr(rule, "SHARES_ONLY", False) and worths != {1.0}:
        yield (
            f"credit {config.credit} asks whether a step's reward is below one half, but in this "
            f"mixture a right step is worth {verified:g} on verified questions and {others:g} on "
            "the others, where both must be 1: set mixture.verified_share=1 and weights that add "
            "up to 1, or take a credit rule without a threshold (sum, min, delta, clip)"
        )
