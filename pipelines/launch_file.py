"""What a run needs of the file that `accelerate config` wrote, read before anything is launched.

Accelerate and TRL find what does not fit in the first policy phase, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from packaging.version import Version

if TYPE_CHECKING:
    from pipelines.config import Config

LEAST_TORCH = Version("2.13")
"""That FSDP was run with; what of its hooks the log-probabilities rely on came shortly before."""

KINDS = ("NO", "MULTI_GPU", "MULTI_CPU", "MULTI_XPU", "MULTI_NPU", "FSDP", "DEEPSPEED")


def conflicts(config: Config) -> Iterator[str]:
    """Yield what in `launch.config_file` does not fit the run."""
    file = config.launch.config_file
    if file is None:
        return
    if not file.is_file():
        yield (
            f"launch.config_file {file} is no file (seen from {Path.cwd()}); give one that "
            "`accelerate config` wrote, or leave it out"
        )
        return
    found = _read(file)
    if isinstance(found, str):
        yield found
        return
    for what in _misfits(config, found):
        yield f"launch.config_file {file}: {what}"


def kind(config: Config) -> str:
    """Return the file's `distributed_type`, one of `KINDS`; NO without a file."""
    return str(_found(config).get("distributed_type", "NO"))


def stage(config: Config) -> int:
    """Return what the policy phase shards, in the stages of DeepSpeed's ZeRO.

    1 is the optimizer's state, 2 gradients too, 3 weights too, as FSDP does; 0 nothing.
    """
    found = _found(config)
    named = found.get("distributed_type")
    if named != "DEEPSPEED":
        return 3 if named == "FSDP" else 0
    given = found.get("deepspeed_config") or {}
    own = given.get("deepspeed_config_file")
    zero = _json(own).get("zero_optimization", {}).get("stage", 0) if own else None
    return int(given.get("zero_stage", 2) if zero is None else zero)


def _found(config: Config) -> Mapping[str, Any]:
    file = config.launch.config_file
    found = _read(file) if file is not None else {}
    return {} if isinstance(found, str) else found


def _json(file: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(Path(file).read_text(encoding="utf-8"))
    return found


def _read(file: Path) -> Mapping[str, Any] | str:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON is YAML, too
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        return f"launch.config_file {file} cannot be read as YAML: {reason}"
    if not isinstance(found, Mapping):
        return f"launch.config_file {file}: expected keys as `accelerate config` writes them"
    return found


def _misfits(config: Config, found: Mapping[str, Any]) -> Iterator[str]:
    named = str(found.get("distributed_type", "NO"))
    if named not in KINDS:
        yield f"distributed_type is {named}; a run can be launched as {', '.join(KINDS)}"
    if found.get("parallelism_config"):
        yield (
            "parallelism_config: tensor, context and sequence parallelism are not supported; "
            "leave it out, and shard by FSDP or DeepSpeed"
        )
    processes = found.get("num_processes")
    if processes is not None and processes != config.launch.processes:
        yield f"num_processes is {processes}; set launch.processes={processes}"
    precision = str(found.get("mixed_precision") or "no")
    if precision not in ("no", "False") and not (precision == "bf16" and config.optimize.bf16):
        yield (
            f"mixed_precision is {precision} and optimize.bf16 {str(config.optimize.bf16).lower()};"
            " set mixed_precision: 'no' there, optimize.bf16=true computes in bfloat16"
        )
    if named == "FSDP":
        if Version(version("torch")) < LEAST_TORCH:
            yield (
                f"FSDP needs torch {LEAST_TORCH} or newer here, found {version('torch')}: older "
                "ones do not close a forward pass that takes another way than the model's"
            )
        of_fsdp = (found.get("fsdp_config") or {}).get("fsdp_version", 1)
        if of_fsdp != 2:
            yield f"fsdp_version is {of_fsdp}; set fsdp_version: 2 below fsdp_config"
        if config.learns_reward and config.reward_model.optimizer == "muon":
            yield "Muon needs whole matrices, FSDP has shards; set reward_model.optimizer=adamw"
    if named == "DEEPSPEED":
        yield from _deepspeed(config, found.get("deepspeed_config") or {})


def _deepspeed(config: Config, given: Mapping[str, Any]) -> Iterator[str]:
    if find_spec("deepspeed") is None:
        yield "DeepSpeed is not installed here: pip install deepspeed"
    own = given.get("deepspeed_config_file")
    if own is not None:
        try:
            given = _json(own)
        except (OSError, ValueError) as error:
            yield f"deepspeed_config_file {own} cannot be read: {error}"
            return
    for name, ours, key in (
        ("gradient_accumulation_steps", config.accumulation, "optimize.micro_batch"),
        ("gradient_clipping", config.optimize.max_grad_norm, "optimize.max_grad_norm"),
    ):
        theirs = given.get(name, "auto")
        if theirs not in ("auto", "none", ours):
            yield f"{name} is {theirs}, the run's is {ours:g} ({key}); set it to {ours:g} there"
