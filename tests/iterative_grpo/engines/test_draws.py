from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest, pearsonr

from iterative_grpo.engines._draws import Picker, uniforms
from iterative_grpo.types import Sampling


def test_numbers_are_uniform_and_unrelated_along_every_axis() -> None:
    prompts = [(i, 3) for i in range(40)]
    u = uniforms(prompts, Sampling(20, 30, seed=5)).numpy()
    assert u.shape == (30, 40, 20)
    assert u.min() >= 0
    assert u.max() < 1
    assert kstest(u.ravel(), "uniform").pvalue > 1e-3
    for a, b in [(u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), (u[..., 1:], u[..., :-1])]:
        assert pearsonr(a.ravel(), b.ravel()).pvalue > 1e-3


def test_a_number_depends_on_seed_prompt_occurrence_sample_and_position_alone() -> None:
    small = uniforms([(1, 2), (3,), (1, 2)], Sampling(2, 4, seed=9))
    large = uniforms([(3,), (7, 7), (1, 2), (1, 2)], Sampling(5, 6, seed=9))
    assert torch.equal(small, large[:4, [2, 0, 3], :2])
    everything = torch.cat([small.flatten(), uniforms([(1, 2)], Sampling(2, 4, seed=8)).flatten()])
    assert len(everything.unique()) == len(everything)


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 1), (0.19, 1), (0.21, 3), (1 - 2**-53, 3)])
def test_impossible_tokens_are_never_drawn(uniform: float, token: int) -> None:
    logits = torch.tensor([[0.0, 0.2, 0.0, 0.8, 0.0]]).log()
    picked, logp = Picker(1.0, 1.0, 0).pick(logits, torch.tensor([uniform], dtype=torch.float64))
    assert int(picked) == token
    assert float(logp) == pytest.approx(float(logits[0, token]), abs=1e-6)


def test_log_probabilities_are_those_after_temperature_and_filters() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    picked, logp = Picker(0.5, 1.0, 2).pick(logits, torch.tensor([0.99], dtype=torch.float64))
    assert int(picked) == 2
    expected = torch.tensor([6.0, 4.0]).log_softmax(0)[1]
    assert float(logp) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("vocabulary", [1025, 4096, 5000])
def test_a_large_vocabulary_is_searched_as_one_cumulative_sum(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, vocabulary, generator=generator) * 4
    logits[:, :: vocabulary // 50] = -float("inf")
    u = torch.rand(500, generator=generator, dtype=torch.float64)
    u[:2] = torch.tensor([0.0, 1 - 2**-53])
    picked, logp = Picker(1.0, 1.0, 0).pick(logits, u)
    exact = logits.double().softmax(-1)
    above = exact.cumsum(-1).gather(1, picked[:, None])[:, 0]
    below = above - exact.gather(1, picked[:, None])[:, 0]
    assert bool((below - 1e-6 <= u).all())
    assert bool((u <= above + 1e-6).all())
    torch.testing.assert_close(logp.double(), (above - below).log(), atol=1e-4, rtol=0)
    assert bool(torch.isfinite(logp).all())
