"""A policy in shards is trained, sampled and saved as one that every process holds whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from iterative_grpo.sharding import (
    Sharding,
    UnsupportedSharding,
    by_layers,
    largest,
    whole_weights,
)
from tests.iterative_grpo.ranks import launch

Maker = Callable[[int, torch.dtype], Path]

FSDP = ["--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"]
ZERO = ["--use_deepspeed", "--gradient_accumulation_steps", "2", "--gradient_clipping", "1.0"]
SHARDS = {
    "none": [],
    "fsdp": FSDP,
    "zero2": [*ZERO, "--zero_stage", "2"],
    "zero3": [*ZERO, "--zero_stage", "3", "--zero3_save_16bit_model", "true"],
}
needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs DeepSpeed")


def train(
    policy: Path, output: Path, shards: str, engine: str | None = "native", **more: Any
) -> list[dict[str, Any]]:
    output.mkdir()
    settings = {"engine": engine, "path": "shared", "max_steps": 3, **more}
    launch(
        "train_in_shards", 2, output, policy, output, json.dumps(settings), shards=SHARDS[shards]
    )
    return [
        json.loads((output / f"found-{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shards", "more"),
    [
        ("fsdp", {}),
        ("fsdp", {"path": "trl"}),
        ("fsdp", {"gradient_checkpointing": True}),
        ("fsdp", {"mask_truncated_completions": True}),  # some batches have no token to score
        pytest.param("zero2", {}, marks=needs_deepspeed),
        pytest.param("zero3", {}, marks=needs_deepspeed),
    ],
)
def test_shards_train_as_whole_policies(
    shards: str, more: dict[str, Any], tiny_policy: Maker, tmp_path: Path
) -> None:
    policy = tiny_policy(0, torch.float32)
    masked = {key: more[key] for key in more if key == "mask_truncated_completions"}
    whole = train(policy, tmp_path / "whole", "none", **masked)
    parts = train(policy, tmp_path / "parts", shards, **more)
    assert {one["kind"] for one in parts} == {"FSDP" if shards == "fsdp" else "DEEPSPEED"}
    assert [one["texts"] for one in parts] == [one["texts"] for one in whole]
    for step, other in zip(parts[0]["steps"], whole[0]["steps"], strict=True):
        for name in ("loss", "grad_norm", "kl", "kl_initial", "entropy"):
            assert step[name] == pytest.approx(other[name], rel=1e-4, abs=1e-7), name
    ours = shards == "zero2" or (shards == "fsdp" and "path" not in more)
    # Asked for TRL's path, nothing is said of it.
    assert bool(parts[0]["said"]) == (not ours and "path" not in more)
    assert parts[0]["sampled is finished"]
    assert shards != "fsdp" or parts[0]["gradients are in shards"]
    assert parts[0]["gathered by layers"]
    before = load_file(policy / "model.safetensors")
    one, two = (
        load_file(tmp_path / side / "after/model.safetensors") for side in ("whole", "parts")
    )
    assert one.keys() == two.keys() == before.keys()
    for name, weight in one.items():
        assert not torch.equal(weight, before[name])
        # Adam divides by the gradient's size: rounding may turn steps where it is near zero.
        assert ((weight - two[name]).abs() < 1e-4).float().mean() > 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    "shards", ["fsdp", *(pytest.param(zero, marks=needs_deepspeed) for zero in ("zero2", "zero3"))]
)
def test_in_bfloat16_the_exact_weights_are_kept(
    shards: str, tiny_policy: Maker, tmp_path: Path
) -> None:
    policy = tiny_policy(0, torch.float32)
    (found, _) = train(policy, tmp_path / "low", shards, bf16=True, learning_rate=1e-5)
    assert found["sampled is finished"]
    # DeepSpeed rounds what a model turns its positions by; our copy does not.
    assert found["frequencies"] == ("torch.float32" if shards == "fsdp" else "torch.bfloat16")
    # The reference is computed exactly as the policy is.
    assert found["steps"][0]["kl"] == 0
    before = load_file(policy / "model.safetensors")
    after = load_file(tmp_path / "low/after/model.safetensors")
    for name, weight in after.items():
        assert weight.dtype == torch.float32
        moved = (weight - before[name]).abs()
        assert moved.max() > 0
        if shards == "fsdp":
            # Three steps of 1e-5 are below what bfloat16 tells apart.
            assert moved.max() < 1e-4
        else:
            # DeepSpeed rounds the weights that it starts from, and keeps what it adds to them.
            assert (moved <= before[name].abs() / 2**8 + 1e-4).all()
            assert not torch.equal(weight, weight.bfloat16().float())


@pytest.mark.slow
def test_whole_policies_that_are_sampled_in_bfloat16_go_on_learning_together(
    tiny_policy: Maker, tmp_path: Path
) -> None:
    one, two = train(tiny_policy(0, torch.float32), tmp_path / "whole", "none", bf16=True)
    assert one["sampled is finished"]
    assert one["weights"] == two["weights"]
    assert one["texts"] != two["texts"]


@pytest.mark.slow
def test_trl_samples_shards_itself(tiny_policy: Maker, tmp_path: Path) -> None:
    policy = tiny_policy(0, torch.float32)
    found = train(policy, tmp_path / "trl", "fsdp", engine=None)
    assert all(len(one["steps"]) == 3 for one in found)


def test_without_shards_nothing_is_copied(tiny_policy: Maker) -> None:
    policy = AutoModelForCausalLM.from_pretrained(tiny_policy(0, torch.float32))
    sharding = Sharding(Accelerator(cpu=True), policy)
    assert sharding.to_sample() is policy
    with sharding.sampling():
        assert all(weight.dtype == torch.float32 for weight in policy.parameters())
    assert sharding.whole() is policy
    other = torch.nn.Linear(2, 2)
    assert sharding.frozen(other) is other
    assert {name for name, _ in whole_weights(policy)} == dict(policy.named_parameters()).keys()


def test_whole_weights_go_by_the_names_of_the_model_that_is_saved() -> None:
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad = False
    # As gradient checkpointing wraps layers.
    model = torch.nn.ModuleDict({"layer": torch.nn.Module()})
    model["layer"].add_module("_checkpoint_wrapped_module", layer)
    assert [name for name, _ in whole_weights(model)] == ["layer.weight", "layer.bias"]
    ((name, weight),) = whole_weights(model, trained_only=True)
    assert name == "layer.weight"
    assert torch.equal(weight, layer.weight)


def test_the_largest_is_that_of_all_processes() -> None:
    pair = SimpleNamespace(device="cpu", gather=lambda own: torch.stack([own, own + 2, own - 1]))
    assert largest(pair, 3) == 5


def test_what_cannot_be_put_together_is_refused() -> None:
    plugin = SimpleNamespace(fsdp_version=1)
    state = SimpleNamespace(deepspeed_plugin=None, fsdp_plugin=plugin)
    accelerator = SimpleNamespace(state=state, mixed_precision="no")
    with pytest.raises(UnsupportedSharding, match="set fsdp_version: 2"):
        Sharding(accelerator, torch.nn.Linear(2, 2))
    plugin.fsdp_version = 2
    for mark in ("ds_id", "full_tensor"):
        model = torch.nn.Linear(2, 2)
        setattr(model.weight, mark, 0)
        with pytest.raises(UnsupportedSharding, match="sharded while it was loaded"):
            Sharding(accelerator, model)
    with pytest.raises(ValueError, match="shards nothing by FSDP"):
        by_layers(torch.nn.Linear(2, 2), Accelerator(cpu=True))


def in_shards(first: bool) -> Any:
    """Return what an accelerator says of itself where FSDP shards."""
    return SimpleNamespace(
        state=SimpleNamespace(deepspeed_plugin=None, fsdp_plugin=SimpleNamespace(fsdp_version=2)),
        gradient_state=SimpleNamespace(plugin_kwargs={}),
        is_main_process=first,
        mixed_precision="no",
    )


def test_the_first_process_puts_the_model_together(tiny_policy: Maker) -> None:
    policy = AutoModelForCausalLM.from_pretrained(tiny_policy(0, torch.float32))
    policy.model.norm.weight.requires_grad = False
    accelerator = in_shards(first=True)
    whole = Sharding(accelerator, policy).whole()
    assert accelerator.gradient_state.plugin_kwargs == {"sync_each_batch": True}
    assert whole.lm_head.weight is whole.model.embed_tokens.weight
    expected = {name: weight.detach().clone() for name, weight in policy.named_parameters()}
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(1)
    found = dict(whole.named_parameters())
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert torch.equal(weight, expected[name])
        assert weight.requires_grad == (name != "model.norm.weight")
    assert Sharding(in_shards(first=False), policy).whole() is None


def test_weights_that_no_process_has_are_named(tiny_policy: Maker) -> None:
    policy = AutoModelForCausalLM.from_pretrained(tiny_policy(0, torch.float32))
    sharding = Sharding(in_shards(first=True), policy)
    policy.model.norm = torch.nn.Identity()
    with pytest.raises(RuntimeError, match=r"no process has the weights of model\.norm\.weight"):
        sharding.whole()
