"""What is computed in: the given precision, or autocast's where that is on."""

from __future__ import annotations

import torch

from iterative_grpo.precision import computed_in

CPU = torch.device("cpu")


def test_autocast_decides_where_it_is_on() -> None:
    assert computed_in(CPU, torch.float64) is torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        found = computed_in(CPU, torch.float32)
        assert found is torch.bfloat16
        assert found is (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
        with torch.autocast("cpu", enabled=False):
            assert computed_in(CPU, torch.float32) is torch.float32
