from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch

from iterative_grpo.engines._shared_cache import Rows, _room


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_large_rooms_are_usable_and_given_back() -> None:
    shape = (64, 4, 256, 64)
    before = resident_pages()
    for value in range(8):
        room = _room(shape, torch.float32, torch.device("cpu"))
        assert room.shape == shape
        assert room.is_contiguous()
        room.fill_(value)
        assert float(room.sum()) == value * room.numel()
        del room
    gc.collect()
    # Eight rooms of 16 MiB came and went; less than two of them is still here.
    assert resident_pages() - before < 2 * 16 * 2**20 / 4096


@pytest.mark.parametrize("stems", [[0, 0, 1, 1], [1, 0, 1, 0, 2, 2], [0, 1, 1, 1], [2, 2, 0, 1, 2]])
def test_rows_go_to_the_slots_of_their_stem_and_back(stems: list[int]) -> None:
    B, N, K, Q, X = len(stems), max(stems) + 1, 2, 3, 5
    visible = torch.arange(B) % 4 + 1
    rows = Rows(np.array(stems), visible.numpy(), N, 4, torch.device("cpu"))
    slots = rows.slots_of(K, Q, torch.float32)
    x = torch.randn(B * K, Q, X)
    # Each stem's slots, multiplied by a number of the stem, as its keys would be.
    factor = torch.arange(1.0, N + 1).repeat_interleave(K)[:, None, None]
    back = slots.empty(slots.fill(x) * factor, x)
    stem_BK = torch.tensor(stems).repeat_interleave(K)
    assert torch.equal(back, x * (stem_BK + 1.0)[:, None, None])
    # What is hidden from a row comes back with it.
    hidden = slots.empty(slots.hidden, x).isinf()
    seen = visible.repeat_interleave(K)[:, None, None]
    assert torch.equal(hidden, (torch.arange(4) >= seen).expand(B * K, Q, 4))
