"""Reward models on a GPU that is not there: no tensor of another device, the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, PretrainedConfig, Qwen3Config

from benchmarks.pretend_gpu import DEVICE, attached, on_gpu
from reward_models import reading
from reward_models.encoding import Encoded
from tests.reward_models.test_reading import model_of, rows_of


@pytest.mark.parametrize("family", [LlamaConfig, Qwen3Config])
@pytest.mark.parametrize("read", [reading.read_whole, reading.read_shared])
def test_logits_and_gradients_are_those_of_the_cpu(
    family: type[PretrainedConfig], read: Callable[[Any, Sequence[Encoded], int], torch.Tensor]
) -> None:
    model = model_of(family)
    rows = rows_of(model, ragged=True)
    expected = read(model.model, rows, model.pad)
    (expected**2).sum().backward()
    with attached() as asked:
        far = on_gpu(model.model)
        asked.clear()
        found = read(far, rows, model.pad)
        assert asked.waits <= 2  # transformers' own, for a mask
        assert found.device == DEVICE
        (found**2).sum().backward()
        assert torch.allclose(found.cpu(), expected, atol=1e-10)
        for near, there in zip(model.model.parameters(), far.parameters(), strict=True):
            assert near.grad is not None
            assert there.grad is not None
            assert torch.allclose(there.grad.cpu(), near.grad, atol=1e-8)
