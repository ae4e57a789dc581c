"""NumPy's tables become the model's, in one transfer and with nothing shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.pretend_gpu import DEVICE, attached
from iterative_grpo.transfer import bring


@pytest.mark.parametrize("shapes", [[(4,)], [(2, 3), (0,), (1, 2, 2)]])
def test_tables_arrive_as_copies_of_their_shapes(shapes: list[tuple[int, ...]]) -> None:
    tables = [np.arange(np.prod(shape)).reshape(shape) for shape in shapes]
    found = bring(torch.device("cpu"), *tables)
    expected = [table.tolist() for table in tables]
    for table in tables:
        table += 1
    assert [each.tolist() for each in found] == expected
    assert [tuple(each.shape) for each in found] == shapes


def test_a_gpu_gets_all_tables_at_once_and_python_goes_on() -> None:
    with attached() as asked:
        found = bring(DEVICE, np.arange(3), np.arange(8).reshape(2, 4))
        assert (asked.launches, asked.waits, asked.brought) == (1, 0, 8 * 11)
        assert [each.device for each in found] == [DEVICE] * 2
        assert found[1].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
