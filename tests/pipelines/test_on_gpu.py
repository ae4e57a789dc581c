"""A whole run on a GPU that is not there: no tensor of another device in any phase."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate
import pytest
import torch
from transformers import PreTrainedModel
from trl.kernels import chunked_logprob

from benchmarks.pretend_gpu import DEVICE, OnGPU, attached, move
from pipelines import policies, run
from tests.pipelines import toy
from tests.pipelines.toy import lines

CUDA: dict[str, Any] = {
    "is_available": lambda: True,
    "is_initialized": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "set_device": lambda _: None,
    "synchronize": lambda *_: None,
    "empty_cache": lambda: None,
    "is_bf16_supported": lambda *_, **__: True,
    "get_device_capability": lambda *_: (9, 0),
    "get_device_name": lambda *_: "a GPU that is not there",
    "get_device_properties": lambda *_: SimpleNamespace(total_memory=2**33, major=9, minor=0),
    "get_rng_state_all": list,
    "set_rng_state_all": lambda _: None,
    "memory_allocated": lambda *_: 0,
    "max_memory_allocated": lambda *_: 0,
}
"""What libraries ask of torch before they use a GPU."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let libraries find the GPU, by its name with an index, and move and write what is on it."""
    for name, answer in CUDA.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(policies, "device", lambda: str(DEVICE))
    monkeypatch.setattr(accelerate.state.PartialState, "default_device", property(lambda _: DEVICE))
    monkeypatch.setattr(PreTrainedModel, "to", lambda model, *_, **__: move(model))
    # Torch for CUDA, and Triton which comes with it, would ask a real one for streams and kernels.
    monkeypatch.setattr(chunked_logprob, "_use_triton", lambda _: False)
    for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
        monkeypatch.setattr(torch.optim.Optimizer, name, lambda _: None, raising=False)
    save = PreTrainedModel.save_pretrained

    def save_near(model: PreTrainedModel, folder: Any, **options: Any) -> None:
        # It tells shared weights by their addresses.
        tied = set(model.all_tied_weights_keys or {})
        near = {
            name: x.near.clone() if isinstance(x, OnGPU) else x
            for name, x in (options.pop("state_dict", None) or model.state_dict()).items()
            if name not in tied
        }
        save(model, folder, state_dict=near, **options)

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save_near)


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
def test_every_phase_keeps_to_the_gpu(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    with attached() as asked:
        run(
            toy.config(
                tmp_path,
                data,
                "engine=native_graphs",
                "iterations=2",
                "supervision=process",
                "label.labeler=monte_carlo",
                "label.continuations=2",
                "reward_model.bf16=true",
                "optimize.steps=2",
            ),
            quiet=True,
        )
        assert asked.launches > 10_000
        assert asked.replays > 10
    steps = lines(tmp_path / "run" / "metrics" / "steps.jsonl")
    # Policy and reference are the same at the first step of an iteration.
    assert [row["kl"] == 0 for row in steps] == [True, False] * 2
    assert all(row["grad_norm"] > 0 for row in steps)
