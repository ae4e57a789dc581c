"""What `optimize.trl` may add to TRL's settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from transformers.utils import import_utils

from pipelines import settings, trl_settings
from pipelines.keywords import UnfitValue, UnknownField


def configured(*overrides: str) -> settings.Config:
    return settings.load(settings.SHIPPED / "arithmetic.yaml", overrides)


def test_other_fields_reach_trl(tmp_path: Path) -> None:
    config = configured("optimize.trl.adam_beta2=0.95", "optimize.beta=0.02")
    trl_settings.check(config)
    made = trl_settings.arguments(config, 7, 3, tmp_path)
    assert (made.adam_beta2, made.beta, made.seed) == (0.95, 0.02, 7)
    assert made.run_name == "arithmetic-03"


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("optimize.steps=7", "max_steps", 7),
        ("optimize.updates=3", "num_iterations", 3),
        ("optimize.prompts=4", "per_device_train_batch_size", 4 * 8),
        ("optimize.group_size=4", "num_generations", 4),
        ("optimize.micro_batch=32", "gradient_accumulation_steps", 4),
        ("optimize.learning_rate=1e-4", "learning_rate", 1e-4),
        ("optimize.schedule=cosine", "lr_scheduler_type", "cosine"),
        ("optimize.warmup_steps=3", "warmup_steps", 3),
        ("optimize.weight_decay=0.1", "weight_decay", 0.1),
        ("optimize.max_grad_norm=0.5", "max_grad_norm", 0.5),
        ("optimize.beta=0.02", "beta", 0.02),
        ("optimize.epsilon=0.3", "epsilon", 0.3),
        ("optimize.loss=dr_grpo", "loss_type", "dr_grpo"),
        ("optimize.scale=none", "scale_rewards", "none"),
        ("optimize.temperature=0.7", "temperature", 0.7),
        ("optimize.mask_truncated=true", "mask_truncated_completions", True),
        ("optimize.bf16=true", "bf16", True),
        ("optimize.gradient_checkpointing=true", "gradient_checkpointing", True),
        ("max_tokens=37", "max_completion_length", 37),
        ("optimize.checkpoint_every=6", "save_steps", 6),
        ("optimize.checkpoint_every=6", "save_strategy", "steps"),
        ("optimize.checkpoint_every=0", "save_strategy", "no"),
        ("policy={model: x/y, trust_remote_code: true}", "trust_remote_code", True),
        ("report_to=[tensorboard]", "report_to", ["tensorboard"]),
        ("report_to=[]", "report_to", "none"),
    ],
)
def test_the_runs_settings_are_trls(override: str, field: str, value: object) -> None:
    policy = ("policy=null",) if override.startswith("policy") else ()
    own = trl_settings.ours(configured(*policy, override), 7, 3, Path())
    assert own[field] == value
    assert (own["seed"], own["data_seed"]) == (7, 7)
    # The paper's estimator, as the loss has it.
    assert own["use_bias_correction_kl"] is False
    # A checkpoint goes once the next one is whole, and not sooner.
    assert own["save_total_limit"] is None


def test_trl_samples_with_vllm_where_it_is_asked_to() -> None:
    named = ("policy=null", "policy.model=x/y")
    off, colocated = (
        trl_settings.ours(configured(*named, f"optimize.vllm={mode}"), 0, 1, Path())
        for mode in ("off", "colocate")
    )
    assert off["use_vllm"] is False
    assert (colocated["use_vllm"], colocated["vllm_mode"]) == (True, "colocate")


def test_policies_train_without_dropout(tmp_path: Path) -> None:
    """Else the reference differs from the policy before the first step."""
    assert trl_settings.arguments(configured(), 7, 3, tmp_path).disable_dropout


def test_a_field_that_a_setting_decides_is_refused() -> None:
    with pytest.raises(UnknownField, match=r"optimize\.trl\.beta: decided by .* 0\.04"):
        trl_settings.check(configured("optimize.trl.beta=0.1"))


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownField, match=r"no such field. Did you mean adam_beta2\?"):
        trl_settings.check(configured("optimize.trl.adam_betta2=0.9"))


@pytest.mark.parametrize(
    "name",
    [
        "steps_per_generation",
        "generation_batch_size",
        "logging_strategy",
        "eval_strategy",
        "enable_jit_checkpoint",
        "save_only_model",
        "ddp_timeout",
        "reward_weights",
        "deepspeed",
        "fsdp",
        "fsdp_config",
        "parallelism_config",
    ],
)
def test_fields_that_would_break_the_steps_are_refused(name: str) -> None:
    with pytest.raises(UnknownField, match=rf"optimize\.trl\.{name}: decided by .*; leave it"):
        trl_settings.check(configured(f"optimize.trl.{name}=2"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{max_tool_calling_iterations: x}", r"max_tool_calling_iterations: expected int \| None"),
        ("{top_k: 1.5}", "top_k: expected int, found 1.5"),
        ("{dataloader_num_workers: yes}", "dataloader_num_workers: expected int, found True"),
        ("{adam_beta2: [0.9]}", r"adam_beta2: expected float, found \[0.9\]"),
    ],
)
def test_values_of_another_type_are_refused(value: str, message: str) -> None:
    with pytest.raises(UnfitValue, match=rf"^optimize\.trl\.{message}"):
        trl_settings.check(configured(f"optimize.trl={value}"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("{top_p: 7}", "top_p is 7"),
        ("{top_k: -1}", "top_k is -1"),
        ("{optim: adamwx}", "adamwx is not a valid OptimizerNames"),
        ("{dataloader_prefetch_factor: 2}", "--dataloader_prefetch_factor can only be set"),
        ("{fp16: true, bf16_full_eval: true, fp16_full_eval: true}", "At most one of fp16 and"),
    ],
)
def test_values_that_cannot_be_trained_with_are_refused(value: str, reason: str) -> None:
    with pytest.raises(UnfitValue, match="cannot be trained with") as caught:
        trl_settings.check(configured(f"optimize.trl={value}"))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("{min_p: 3.0}", "`min_p` has to be a float in the [0, 1] interval"),
        ("{repetition_penalty: -1.0}", "has to be a strictly positive float"),
        ("{generation_kwargs: {top_z: 1}}", "no generation_kwargs 'top_z'"),
        ("{generation_kwargs: {early_stopping: often}}", "`early_stopping` must be a boolean"),
        ("{cache_implementation: 3}", "cache_implementation: expected str"),
    ],
)
def test_settings_of_generate_are_for_generate(value: str, reason: str) -> None:
    with pytest.raises(UnknownField, match="engine native does not sample by it"):
        trl_settings.check(configured(f"optimize.trl={value}"))
    with pytest.raises(UnfitValue) as caught:
        trl_settings.check(configured(f"optimize.trl={value}", "engine=generate"))
    assert reason in str(caught.value)
    trl_settings.check(configured("optimize.trl={min_p: 0.1}", "engine=generate"))
    # So does vLLM in TRL, beside any engine of the other phases.
    served = ("policy=null", "policy.model=x/y", "optimize.vllm=server")
    trl_settings.check(configured("optimize.trl={min_p: 0.1}", *served))


def test_numbers_that_yaml_reads_as_texts_are_numbers(tmp_path: Path) -> None:
    config = configured("optimize.trl={adam_epsilon: 1e-7}")
    assert config.optimize.trl["adam_epsilon"] == "1e-7"
    trl_settings.check(config)
    assert trl_settings.arguments(config, 0, 1, tmp_path).adam_epsilon == 1e-7


def test_the_check_leaves_no_process_state_behind() -> None:
    from accelerate.state import PartialState

    before = dict(PartialState._shared_state)
    PartialState._shared_state.clear()
    try:
        trl_settings.check(configured("optimize.trl.adam_beta2=0.95"))
        assert PartialState._shared_state == {}
    finally:
        PartialState._shared_state.update(before)


def test_several_processes_are_counted() -> None:
    more = ("launch.mode=accelerate", "launch.processes=2")
    trl_settings.check(configured("optimize.trl.adam_beta2=0.95", *more))


def test_tf32_is_for_devices_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = configured("optimize.trl.tf32=true")
    before = torch.backends.cuda.matmul.allow_tf32
    monkeypatch.setattr(import_utils, "is_torch_tf32_available", lambda: False)
    with pytest.raises(UnfitValue, match=r"optimize\.trl\.tf32: needs a GPU of Ampere or newer"):
        trl_settings.check(asked)
    trl_settings.check(configured("optimize.trl.tf32=false"))
    monkeypatch.setattr(import_utils, "is_torch_tf32_available", lambda: True)
    trl_settings.check(asked)
    # The check is of the settings: what multiplies matrices is set in the phase.
    assert torch.backends.cuda.matmul.allow_tf32 == before


@pytest.mark.parametrize(
    "setting",
    [
        "torch_compile=true",
        "torch_compile_backend=inductor",
        "torch_compile_mode=reduce-overhead",
        "adam_beta2=0.95",
    ],
)
def test_the_check_leaves_the_environment_alone(setting: str) -> None:
    before = dict(os.environ)
    trl_settings.check(configured(f"optimize.trl.{setting}"))
    assert dict(os.environ) == before


def test_the_check_is_silent(recwarn: pytest.WarningsRecorder) -> None:
    trl_settings.check(configured("optimize.trl.adam_beta2=0.95"))
    assert not [str(each.message) for each in recwarn]


@pytest.mark.parametrize("gpu", [False, True])
def test_trl_trains_on_the_gpu_where_there_is_one(
    gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    own = trl_settings.ours(configured(), 7, 3, Path())
    assert (own["use_cpu"], own["dataloader_pin_memory"]) == (not gpu, gpu)
