"""vLLM in a run: as the engine of finished checkpoints, and TRL's own beside the trainer."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines import run
from pipelines.policies import PolicyError
from tests.pipelines import toy
from tests.pipelines.toy import lines

INSTALLED = importlib.util.find_spec("vllm") is not None
SHAPE = "policy.make.width=64", "policy.make.heads=2"  # vLLM has no kernels for narrower heads


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.skipif(INSTALLED, reason="vLLM is installed here")
def test_a_missing_vllm_is_told_before_any_compute(tmp_path: Path, data: Path) -> None:
    with pytest.raises(PolicyError, match=r"engine vllm: .*pip install 'iterative-grpo\[vllm\]'"):
        run(toy.config(tmp_path, data, "engine=vllm"), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="vLLM is not installed here")
def test_the_engine_samples_labels_and_evaluates(tmp_path: Path, data: Path) -> None:
    process = "supervision=process", "label.labeler=monte_carlo", "label.continuations=2"
    run(toy.config(tmp_path, data, "engine=vllm", "iterations=1", *process, *SHAPE), quiet=True)
    labels = json.loads((tmp_path / "run" / "iterations/01/label/summary.json").read_text())
    assert labels["tokens"] > 0
    rows = lines(tmp_path / "run" / "iterations/01/sample/samples.jsonl")
    assert len(rows) == 24 * 4
    assert all(1 <= len(row["token_ids"]) <= 20 for row in rows)


COLOCATED = """
import sys

import torch
from vllm.model_executor.layers import utils
from vllm.platforms import current_platform


def unpacked(layer, remove_weight):
    layer.cpu_linear = torch.nn.functional.linear


# On a CPU vLLM packs weights, and cannot take the next step's then.
if current_platform.is_cpu():
    utils.dispatch_cpu_unquantized_gemm = unpacked

from pipelines.cli import main

sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="vLLM is not installed here")
def test_trl_samples_policy_steps_with_the_weights_of_each(tmp_path: Path, data: Path) -> None:
    run(toy.config(tmp_path / "made", data, "iterations=1", *SHAPE), quiet=True)
    policy = tmp_path / "made" / "run" / "start" / "policy"
    settings = toy.raw(tmp_path, data, policy={"model": str(policy)}, iterations=1)
    settings["optimize"] |= {"vllm": "colocate", "learning_rate": 3e-3}
    file = tmp_path / "colocated.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", COLOCATED, "run", str(file)],
        env={**os.environ, "PYTHONPATH": root, "VLLM_CPU_KVCACHE_SPACE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = lines(tmp_path / "run" / "metrics" / "steps.jsonl")
    assert len(steps) == 4
    assert steps[-1]["kl"] > 1e-3  # the policy has moved
    for row in steps:
        # vLLM samples in bfloat16.
        assert row["sampling/sampling_logp_difference/mean"] < 0.02
