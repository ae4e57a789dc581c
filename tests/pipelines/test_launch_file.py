"""What of accelerate's own configuration does not fit a run is told before it is launched."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import launch_file, memory, settings
from pipelines.config import Config
from tests.pipelines.test_settings import NAMED

GPUS = {"distributed_type": "MULTI_GPU", "num_processes": 1, "mixed_precision": "no"}
FSDP = {**GPUS, "distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 2}}
ZERO = {**GPUS, "distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 3}}


def launched(tmp_path: Path, found: Any, *more: str) -> Config:
    """Return settings that name a file with this content, which nothing has looked at."""
    file = tmp_path / "accelerate.yaml"
    file.write_text(found if isinstance(found, str) else yaml.safe_dump(found), encoding="utf-8")
    config = settings.load(NAMED, more)
    launch = config.launch.model_copy(update={"config_file": file})
    return config.model_copy(update={"launch": launch})


def misfits(tmp_path: Path, found: Any, *more: str) -> list[str]:
    """Return what is told of a file with this content."""
    told = launch_file.conflicts(launched(tmp_path, found, *more))
    return [one for one in told if "DeepSpeed is not installed" not in one]


@pytest.mark.parametrize("fits", [GPUS, FSDP, ZERO, {}], ids=str)
def test_what_accelerate_writes_fits(fits: dict[str, Any], tmp_path: Path) -> None:
    assert misfits(tmp_path, fits) == []
    assert misfits(tmp_path, json.dumps(fits)) == []


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({**GPUS, "num_processes": 8}, "num_processes is 8; set launch.processes=8"),
        ({**GPUS, "mixed_precision": "bf16"}, "mixed_precision is bf16 and optimize.bf16 false"),
        ({**GPUS, "distributed_type": "MEGATRON_LM"}, "distributed_type is MEGATRON_LM"),
        ({**GPUS, "parallelism_config": {"parallelism_config_tp_size": 2}}, "parallelism_config"),
        ({**FSDP, "fsdp_config": {}}, "fsdp_version is 1; set fsdp_version: 2"),
        ({**FSDP, "fsdp_config": {"fsdp_version": 1}}, "fsdp_version is 1; set fsdp_version: 2"),
        (
            {**ZERO, "deepspeed_config": {"gradient_accumulation_steps": 99}},
            "gradient_accumulation_steps is 99, the run's is 1",
        ),
        (
            {**ZERO, "deepspeed_config": {"gradient_clipping": 0.3}},
            "gradient_clipping is 0.3, the run's is 1 (optimize.max_grad_norm)",
        ),
        ({**ZERO, "deepspeed_config": {"deepspeed_config_file": "no.json"}}, "no.json cannot be"),
        ("a: [", "cannot be read as YAML"),
        ("- 1", "expected keys as `accelerate config` writes them"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told(found: Any, told: str, tmp_path: Path) -> None:
    (line,) = misfits(tmp_path, found)
    assert line.startswith(f"launch.config_file {tmp_path / 'accelerate.yaml'}")
    assert told in line


def test_fsdp_needs_a_torch_that_it_was_run_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_file, "version", lambda _: "2.12.1+cu130")
    assert misfits(tmp_path, GPUS) == []
    (line,) = misfits(tmp_path, FSDP)
    assert "FSDP needs torch 2.13 or newer here, found 2.12.1+cu130" in line


def test_muon_needs_whole_matrices(tmp_path: Path) -> None:
    muon = "reward_model.optimizer=muon"
    assert misfits(tmp_path, ZERO, muon) == []
    assert misfits(tmp_path, FSDP, muon, "reward=verifier") == []
    (line,) = misfits(tmp_path, FSDP, muon)
    assert "set reward_model.optimizer=adamw" in line


def test_what_the_run_asks_for_may_stand_there_too(tmp_path: Path) -> None:
    assert misfits(tmp_path, {**FSDP, "mixed_precision": "bf16"}, "optimize.bf16=true") == []
    own = tmp_path / "zero.json"
    own.write_text('{"gradient_accumulation_steps": "auto", "gradient_clipping": 0.5}')
    found = {**ZERO, "deepspeed_config": {"deepspeed_config_file": str(own)}}
    assert misfits(tmp_path, found, "optimize.max_grad_norm=0.5") == []


@pytest.mark.parametrize(
    ("found", "stage"),
    [
        (GPUS, 0),
        (FSDP, 3),
        (ZERO, 3),
        ({**ZERO, "deepspeed_config": {"zero_stage": 1}}, 1),
        ({**ZERO, "deepspeed_config": {}}, 2),  # accelerate's default
        ({**ZERO, "deepspeed_config": {"deepspeed_config_file": "{}/zero.json"}}, 1),
    ],
    ids=str,
)
def test_the_plan_counts_shards(found: dict[str, Any], stage: int, tmp_path: Path) -> None:
    (tmp_path / "zero.json").write_text('{"zero_optimization": {"stage": 1}}')
    text = yaml.safe_dump(found).replace("{}/", f"{tmp_path}/")
    whole = launched(tmp_path, text, "iterations=1", "engine=generate")
    assert launch_file.stage(whole) == stage
    launch = whole.launch.model_copy(update={"processes": 4})
    config = whole.model_copy(update={"launch": launch})
    # Weights and reference, gradients (those of whole models are exchanged), and AdamW's moments.
    assert memory.policy_bytes(config) == [20 + 4, 8 + 4 + 2, 8 + 1 + 2, 5][stage]
    engine = config.model_copy(update={"engine": "native"})
    assert memory.policy_bytes(engine) - memory.policy_bytes(config) == (4 if stage == 3 else 0)


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_a_missing_deepspeed_is_told(tmp_path: Path) -> None:
    file = tmp_path / "accelerate.yaml"
    file.write_text(yaml.safe_dump(ZERO), encoding="utf-8")
    with pytest.raises(settings.ConfigError, match="DeepSpeed is not installed"):
        settings.load(NAMED, [f"launch.config_file={file}"])
