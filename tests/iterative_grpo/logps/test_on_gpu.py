"""Log-probabilities on a GPU that is not there: no tensor of another device, the same numbers."""

from __future__ import annotations

import contextlib

import pytest
import torch

from benchmarks.pretend_gpu import DEVICE, OnGPU, attached, on_gpu
from iterative_grpo.logps.paths import Logps, Path
from tests.iterative_grpo.logps.making import (
    FAMILIES,
    TEMPERATURE,
    Batch,
    batch,
    decoder,
    distance,
    oracle,
)


@pytest.mark.parametrize("wanted", ["shared", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_and_gradients_are_those_of_the_cpu(
    family: str, wanted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, rows = decoder(family), batch(group=8)
    expected = oracle(model, rows)[0]
    expected.sum().backward()
    with attached() as asked:
        far = on_gpu(model)

        def stock(ids: torch.Tensor, mask: torch.Tensor, columns: int) -> torch.Tensor:
            return oracle(far, Batch(ids, mask, columns))[0]

        logps = Logps(TEMPERATURE, contextlib.nullcontext)
        given = rows.ids.to(DEVICE), rows.mask.to(DEVICE), rows.columns
        first = logps(far, *given, wanted=wanted, entropy=True, stock=stock)
        asked.clear()
        # The first call has compared its path with the stock one.
        found = logps(far, *given, wanted=wanted, entropy=True, stock=stock)
        assert found is not None
        assert asked.waits <= 3  # one look at all rows; the others are transformers' own
        found[0].sum().backward()
        assert first is not None
        assert first[0].tolist() == found[0].tolist()
        assert isinstance(found[0], OnGPU)
        assert distance(found[0].cpu(), expected) < 1e-12
        for (name, near), there in zip(model.named_parameters(), far.parameters(), strict=True):
            if near.grad is not None:
                assert there.grad is not None, name
                assert distance(there.grad.cpu(), near.grad) < 1e-10, name
    assert not [record for record in caplog.records if "path" in record.message]
