"""Positions of configurations with, without and behind a limit."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import BloomConfig, LlamaConfig, LlavaConfig, XLNetConfig

from iterative_grpo.context import positions


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LlamaConfig(max_position_embeddings=64), 64),
        (LlavaConfig(text_config=LlamaConfig(max_position_embeddings=96)), 96),
        (BloomConfig(), None),
        (XLNetConfig(), None),
    ],
)
def test_positions(config: Any, expected: int | None) -> None:
    assert positions(config) == expected
