"""Every engine that samples a live model, and models of every family."""

from __future__ import annotations

from types import ModuleType

import pytest
from transformers import PreTrainedModel

from iterative_grpo import plugins
from tests.iterative_grpo.engines import tiny

LIVE_ENGINES = [
    name for name in plugins.names("iterative_grpo.engines") if name in ("generate", "native")
]


@pytest.fixture(params=LIVE_ENGINES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    """An engine's module; vLLM, which samples checkpoints only, has tests of its own."""
    return plugins.find("iterative_grpo.engines", request.param)


@pytest.fixture(params=tiny.FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny.model(request.param)
