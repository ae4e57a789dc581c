"""Binary cross-entropy over ends, against its sum written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from reward_models.losses import bce


def test_the_sum_over_weighted_ends() -> None:
    logits, labels, weights = (0.5, -1.0, 2.0), (1.0, 0.0, 0.25), (1.0, 2.0, 0.5)
    expected = 0.0
    for z, y, w in zip(logits, labels, weights, strict=True):
        s = 1 / (1 + math.exp(-z))
        expected -= w * (y * math.log(s) + (1 - y) * math.log(1 - s))
    found = bce.total(torch.tensor(logits), torch.tensor(labels), [2, 1], torch.tensor(weights))
    assert float(found) == pytest.approx(expected, rel=1e-6)
    assert bce.weight([2, 1], torch.tensor(weights)) == 3.5


def test_every_row_is_an_item() -> None:
    generator = np.random.default_rng(0)
    assert bce.items([(1.0,), (0.0, 1.0)], ["a", "a"], generator) == [(0,), (1,)]
