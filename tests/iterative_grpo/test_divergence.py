"""The KL estimator against its formula, and against the exact divergence it estimates."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from iterative_grpo import divergence, timing
from iterative_grpo.divergence import Initial, Moved, kl, moved, together
from iterative_grpo.engines import generate
from iterative_grpo.types import Prompt, Sampling

PolicyMaker = Callable[[int, torch.dtype], Path]


def test_it_is_the_formula_token_by_token(tiny_policy: PolicyMaker) -> None:
    path = tiny_policy(0, torch.float32)
    policy, tokenizer = (cls.from_pretrained(path) for cls in (AutoModelForCausalLM, AutoTokenizer))
    other = AutoModelForCausalLM.from_pretrained(tiny_policy(1, torch.float32))
    prompts = [Prompt("a", (3, 4, 5)), Prompt("b", (6,))]
    groups = generate.load(policy, tokenizer).generate(
        prompts, Sampling(group_size=3, max_tokens=7, seed=1)
    )
    terms = []
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            ids = torch.tensor([[*prompt.token_ids, *completion.token_ids]])
            for position, token in enumerate(completion.token_ids, start=len(prompt.token_ids)):
                here, there = (
                    model(ids[:, :position]).logits[0, -1].log_softmax(-1)[token].item()
                    for model in (policy, other)
                )
                ratio = there - here
                terms.append(torch.tensor(ratio).exp().item() - ratio - 1)
    assert kl(policy, other, prompts, groups) == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    assert kl(policy, policy, prompts, groups) == 0.0


def test_logits_of_a_pass_are_bounded(
    tiny_policy: PolicyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_policy(0, torch.float32))
    vocabulary = model.config.vocab_size
    rows = [((3, 4), (5,) * n) for n in (3, 9, 1, 1, 20, 2)]
    whole = divergence.token_logps(model, rows)
    sizes: list[int] = []
    model.register_forward_hook(lambda *_: sizes.append(_[2].logits.numel() // vocabulary))
    monkeypatch.setattr(divergence, "LOGITS", 22 * vocabulary)
    found = divergence.token_logps(model, rows)
    torch.testing.assert_close(found, whole)
    # 5 and 11 tokens would be 22 positions; 22 are as many as may be, and alone.
    assert sizes == [22, 6, 22, 4]
    monkeypatch.setattr(divergence, "LOGITS", 1)
    assert torch.equal(divergence.token_logps(model, rows[:1]), found[:3])


def test_what_reads_rows_is_timed_and_scored_in_float32(tiny_policy: PolicyMaker) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        tiny_policy(0, torch.float32), dtype=torch.bfloat16
    )
    with timing.clock() as clock:
        found = divergence.token_logps(model, [((3, 4), (5,)), ((6,), (7, 8, 9))])
    assert {name: spent.tokens for name, spent in clock.parts.items()} == {"reference": 7}
    assert found.dtype is torch.float32
    assert not torch.equal(found, found.bfloat16().float())


def test_rows_of_a_pass_are_bounded(
    tiny_policy: PolicyMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_policy(0, torch.float32))
    sizes: list[int] = []
    model.register_forward_hook(lambda *_: sizes.append(len(_[2].logits)))
    monkeypatch.setattr(divergence, "ROWS", 3)
    divergence.token_logps(model, [((3, 4), (5,))] * 7)
    assert sizes == [3, 3, 1]


def test_a_batchs_distance_is_that_of_its_tokens_whatever_pads_it() -> None:
    given: list[Any] = []

    def logps(model: float, ids: torch.Tensor, mask: torch.Tensor, columns: int) -> torch.Tensor:
        given.append((ids.tolist(), mask.tolist(), columns))
        return (model * ids[:, -columns:]).bfloat16()

    rows = [((3, 4, 5), (6,)), ((7,), (8, 9))]
    found = moved(logps, -0.25, -0.5, rows, pad=2, device="cpu")
    ids = [[3, 4, 5, 6, 2], [2, 2, 7, 8, 9]]
    assert given == [(ids, [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]], 2)] * 2
    assert found.tokens == 3
    # Each token's estimate is in float32, in whatever precision the policies are.
    expected = [math.exp(-0.25 * token) + 0.25 * token - 1 for token in (6, 8, 9)]
    assert found.nats == pytest.approx(sum(expected), rel=1e-6)


def test_processes_are_weighed_by_their_tokens() -> None:
    assert together([Moved(3.0, 1), None, Moved(1.0, 3)]) == 1.0
    assert together([None, None]) is None
    assert together([Moved(0.0, 0)]) is None


def test_no_outputs_show_no_distance() -> None:
    with pytest.raises(ValueError, match="outputs is 0, must be at least 1"):
        Initial(None, 0)


def test_it_estimates_the_divergence_without_bias(tiny_policy: PolicyMaker) -> None:
    """On one-token outputs the exact divergence is a sum over the vocabulary."""
    path = tiny_policy(0, torch.float32)
    policy, tokenizer = (cls.from_pretrained(path) for cls in (AutoModelForCausalLM, AutoTokenizer))
    other = AutoModelForCausalLM.from_pretrained(path)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.05)
    prompt = Prompt("a", (3, 4, 5))
    groups = generate.load(policy, tokenizer).generate(
        [prompt], Sampling(group_size=4_000, max_tokens=1, seed=3)
    )
    ids = torch.tensor([prompt.token_ids])
    here, there = (m(ids).logits[0, -1].log_softmax(-1) for m in (policy, other))
    exact = float((here.exp() * (here - there)).sum().detach())
    terms = (there - here).exp() - (there - here) - 1
    spread = float((here.exp() * (terms - exact) ** 2).sum().sqrt()) / 4_000**0.5
    assert exact > 0
    assert kl(policy, other, [prompt], groups) == pytest.approx(exact, abs=5 * spread)
