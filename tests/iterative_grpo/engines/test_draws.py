from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest, pearsonr

from iterative_grpo.engines._draws import Picker, streams, uniforms
from iterative_grpo.types import Sampling


def numbers(prompts: list[tuple[int, ...]], sampling: Sampling) -> torch.Tensor:
    """Return the numbers (T, P, G) of prompts that are sampled alike."""
    rows = np.concatenate(streams(prompts, [sampling] * len(prompts)))
    return uniforms(rows, sampling.max_tokens).unflatten(1, (-1, sampling.group_size))


def picker(temperature: float = 1.0, top_p: float = 1.0, top_k: int = 0) -> Picker:
    return Picker.of([Sampling(1, 1, temperature, top_p, top_k)])


def test_numbers_are_uniform_and_unrelated_along_every_axis() -> None:
    prompts = [(i, 3) for i in range(40)]
    u = numbers(prompts, Sampling(20, 30, seed=5)).numpy()
    assert u.shape == (30, 40, 20)
    assert u.min() >= 0
    assert u.max() < 1
    assert kstest(u.ravel(), "uniform").pvalue > 1e-3
    for a, b in [(u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), (u[..., 1:], u[..., :-1])]:
        assert pearsonr(a.ravel(), b.ravel()).pvalue > 1e-3


def test_numbers_are_those_of_splitmix64() -> None:
    """The first outputs of Java's SplittableRandom(0), to 53 bits."""
    outputs = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC)
    found = uniforms(np.zeros(1, dtype=np.uint64), 4)[:, 0]
    assert found.tolist() == [(output >> 11) / 2**53 for output in outputs]


def test_a_number_depends_on_seed_prompt_occurrence_sample_and_position_alone() -> None:
    small = numbers([(1, 2), (3,), (1, 2)], Sampling(2, 4, seed=9))
    large = numbers([(3,), (7, 7), (1, 2), (1, 2)], Sampling(5, 6, seed=9))
    assert torch.equal(small, large[:4, [2, 0, 3], :2])
    everything = torch.cat([small.flatten(), numbers([(1, 2)], Sampling(2, 4, seed=8)).flatten()])
    assert len(everything.unique()) == len(everything)


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 1), (0.19, 1), (0.21, 3), (1 - 2**-53, 3)])
def test_impossible_tokens_are_never_drawn(uniform: float, token: int) -> None:
    logits = torch.tensor([[0.0, 0.2, 0.0, 0.8, 0.0]]).log()
    picked, logp = picker().pick(logits, torch.tensor([uniform], dtype=torch.float64))
    assert int(picked) == token
    assert float(logp) == pytest.approx(float(logits[0, token]), abs=1e-6)


def test_log_probabilities_are_those_after_temperature_and_filters() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    picked, logp = picker(0.5, top_k=2).pick(logits, torch.tensor([0.99], dtype=torch.float64))
    assert int(picked) == 2
    expected = torch.tensor([6.0, 4.0]).log_softmax(0)[1]
    assert float(logp) == pytest.approx(float(expected), abs=1e-6)


def test_a_nucleus_is_the_fewest_tokens_that_hold_its_mass() -> None:
    logits = torch.zeros(1, 4)
    last = torch.tensor([1 - 2**-53], dtype=torch.float64)
    for top_p, token in ((0.25, 0), (0.5, 1), (0.51, 2), (0.76, 3)):
        picked, logp = picker(top_p=top_p).pick(logits, last)
        assert int(picked) == token
        assert float(logp) == pytest.approx(-math.log(token + 1), abs=1e-6)


@pytest.mark.parametrize("beside", [1.0, 0.5])
def test_the_rarest_tokens_keep_their_probability(beside: float) -> None:
    """In float32 their sum with the others is 1 before they are added, a nucleus beside or not."""
    logits = torch.tensor([0.0, *[-19.0] * 40]).expand(2, -1)
    mixed = Picker.of([Sampling(1, 1), Sampling(1, 1, top_p=beside)])
    rare = 40 * math.exp(-19)
    for share, token in ((0.0, 0), (1 - rare / 2, 20), (1 - 2**-53, 40)):
        picked, _ = mixed.pick(logits, torch.tensor([share] * 2, dtype=torch.float64))
        assert picked.tolist() == [token, token if beside == 1 else 0]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logits_of_low_precision_are_picked_from_in_float32(temperature: float) -> None:
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    u = torch.rand(4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found, expected = (picker(temperature).pick(x, u) for x in (logits, logits.float()))
    assert found[1].dtype is torch.float32
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("vocabulary", [1025, 4096, 5000])
def test_a_large_vocabulary_is_searched_as_one_cumulative_sum(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, vocabulary, generator=generator) * 4
    logits[:, :: vocabulary // 50] = -float("inf")
    u = torch.rand(500, generator=generator, dtype=torch.float64)
    u[:2] = torch.tensor([0.0, 1 - 2**-53])
    picked, logp = picker().pick(logits, u)
    exact = logits.double().softmax(-1)
    above = exact.cumsum(-1).gather(1, picked[:, None])[:, 0]
    below = above - exact.gather(1, picked[:, None])[:, 0]
    assert bool((below - 1e-6 <= u).all())
    assert bool((u <= above + 1e-6).all())
    torch.testing.assert_close(logp.double(), (above - below).log(), atol=1e-4, rtol=0)
    assert bool(torch.isfinite(logp).all())


def test_rows_with_parameters_of_their_own_are_picked_as_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    samplings = [
        Sampling(1, 1),
        Sampling(1, 1, temperature=0),
        Sampling(1, 1, temperature=0.5),
        Sampling(1, 1, top_k=3),
        Sampling(1, 1, top_k=2000),
        Sampling(1, 1, top_p=0.6),
        Sampling(1, 1, temperature=1.3, top_p=0.9, top_k=7),
    ] * 40
    logits = torch.randn(len(samplings), 1200, generator=generator) * 3
    u = torch.rand(len(samplings), generator=generator, dtype=torch.float64)
    kept = torch.randperm(len(samplings), generator=generator)[:100]
    mixed = Picker.of(samplings)
    for place, (tokens, logps) in [
        (torch.arange(len(samplings)), mixed.pick(logits, u)),
        (kept, mixed.at(kept.numpy()).pick(logits[kept], u[kept])),
    ]:
        for row, token, logp in zip(place.tolist(), tokens, logps, strict=True):
            alone, alone_logp = Picker.of([samplings[row]]).pick(
                logits[row : row + 1], u[row : row + 1]
            )
            assert int(token) == int(alone)
            assert float(logp) == pytest.approx(float(alone_logp), abs=1e-5)


@pytest.mark.parametrize("temperature", [1e-300, 1e-46, 0.0])
def test_a_temperature_that_is_none_is_greedy(temperature: float) -> None:
    logits, u = torch.randn(4, 50), torch.rand(4, dtype=torch.float64)
    tokens, _ = Picker.of([Sampling(1, 1, temperature)]).pick(logits, u)
    assert tokens.tolist() == logits.argmax(-1).tolist()


def test_any_number_above_the_vocabulary_filters_nothing() -> None:
    logits, u = torch.randn(4, 50), torch.rand(4, dtype=torch.float64)
    expected = picker().pick(logits, u)[0]
    for top_k in (51, 2**24 + 1, 2**63 - 1, 2**64):
        assert torch.equal(picker(top_k=top_k).pick(logits, u)[0], expected)
