"""The configurations that come with the program, in small."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import load_config, preflight, run
from tests.pipelines import toy
from tests.pipelines.toy import lines


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A policy of the toy task after its warm start."""
    folder = tmp_path_factory.mktemp("warm")
    run(toy.config(folder, data, "iterations=1", "optimize.steps=1"), quiet=True)
    return folder / "run" / "start" / "policy"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gsm8k_outcome", "gsm8k_process", "gsm8k_tiny", "math_process", "paper"]
)
def test_they_run_with_a_policy_of_any_size(
    name: str, tmp_path: Path, data: Path, warm: Path
) -> None:
    """What they set beside sizes and data: precision, checkpointing, labels, splitters, rounds."""
    smaller = {
        "run_dir": tmp_path / "run",
        "data.name": "gsm8k",
        "data.path": data,
        "policy": f"{{model: {warm}, dtype: {load_config(name).policy.dtype}}}",
        "max_tokens": 20,
        "iterations": 1,
        "sample.problems": 24,
        "sample.first_problems": "null",
        "sample.group_size": 4,
        "label.continuations": 2,
        "reward_model.start": "policy",
        "segmentation.outputs": 0,
        "optimize.steps": 3,
        "optimize.prompts": 4,
        "optimize.group_size": 4,
        "optimize.micro_batch": 8,
        "optimize.checkpoint_every": 2,
        "evaluate.tasks": "[gsm8k/test]",
    }
    overrides = ["policy=null", *(f"{key}={value}" for key, value in smaller.items())]
    config = load_config(name, overrides)
    run(config, quiet=True)
    (rollouts,) = tmp_path.glob("run/iterations/01/optimize/rollouts.jsonl")
    assert len(lines(rollouts)) == 3 * 16
    steps = lines(tmp_path / "run/metrics/steps.jsonl")
    assert all(row["grad_norm"] >= 0 for row in steps)
    assert not preflight.rounds_away(load_config(name))
