"""What every engine must do with a sampling for each prompt, run for each of them."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import pytest
import torch
from transformers import PreTrainedModel

from iterative_grpo.types import Finish, Sampling
from tests.iterative_grpo.engines import tiny
from tests.iterative_grpo.engines.test_conformance import (
    DISTRIBUTIONS,
    assert_joint_distribution,
    engine,
    greedy_by_hand,
)


def test_each_prompt_has_the_distribution_of_its_own_sampling(module: ModuleType) -> None:
    model = tiny.model("llama")
    prompts = tiny.prompts(6, 4, 6, 9, 5, 3)
    samplings = [*DISTRIBUTIONS.values(), Sampling(3, 2, temperature=0)]
    groups = engine(module, model).generate(prompts, samplings)
    for prompt, sampling, group in zip(prompts[:5], samplings, groups, strict=False):
        assert_joint_distribution(model, prompt, sampling, group)
    assert [c.token_ids for c in groups[5]] == [greedy_by_hand(model, prompts[5], 2)] * 3


def test_a_request_does_not_change_with_the_others(
    module: ModuleType, model: PreTrainedModel
) -> None:
    model.generation_config.eos_token_id = [5, 14]
    samplings = [
        Sampling(3, 25, seed=4),
        Sampling(2, 40, temperature=0),
        Sampling(7, 3, temperature=1.5, top_k=4, seed=5),
        Sampling(1, 1, top_p=0.5, seed=6),
        Sampling(5, 30, temperature=0.7, top_p=0.9, top_k=12, stop=("7 w", "w11"), seed=4),
        Sampling(2, 25, temperature=0, stop=("w8", "w9")),
        Sampling(4, 18, temperature=2.0, seed=4),
    ]
    prompts = tiny.prompts(4, 9, 9, 17, 2, 6, 12)
    # The prompt and seed of another request, and a prompt that begins another.
    prompts[4] = dataclasses.replace(prompts[4], token_ids=prompts[0].token_ids)
    prompts[6] = dataclasses.replace(prompts[6], token_ids=prompts[3].token_ids[:5])
    loaded = engine(module, model)
    together = loaded.generate(prompts, samplings)
    for prompt, sampling, group in zip(prompts, samplings, together, strict=True):
        (alone,) = loaded.generate([prompt], sampling)
        assert [dataclasses.replace(c, logps=()) for c in group] == [
            dataclasses.replace(c, logps=()) for c in alone
        ]
        assert len(group) == sampling.group_size
        logps, expected = (torch.tensor([x for c in g for x in c.logps]) for g in (group, alone))
        torch.testing.assert_close(logps, expected, atol=1e-4, rtol=0)


def test_a_limit_of_its_own_keeps_a_prompt_within_the_context(
    module: ModuleType, model: PreTrainedModel
) -> None:
    # The one long prompt may add two tokens; it is carried along while the others go on.
    prompts = tiny.prompts(tiny.CONTEXT - 2, 5)
    samplings = [Sampling(1, 2, temperature=0), Sampling(30, 20, temperature=0)]
    long, short = engine(module, model).generate(prompts, samplings)
    assert [(c.token_ids, c.finish) for c in long] == [
        (greedy_by_hand(model, prompts[0], 2), Finish.LENGTH)
    ]
    assert [c.token_ids for c in short] == [greedy_by_hand(model, prompts[1], 20)] * 30


def test_equal_requests_in_a_list_are_independent(module: ModuleType) -> None:
    prompt = tiny.prompts(6)[0]
    sampling = Sampling(20, 8)
    groups = engine(module, tiny.model("llama")).generate([prompt, prompt], [sampling] * 2)
    assert len({c.token_ids for group in groups for c in group}) > 35


@pytest.mark.parametrize("number", [0, 1, 3])
def test_as_many_samplings_as_prompts(module: ModuleType, number: int) -> None:
    loaded = engine(module, tiny.model("llama"))
    with pytest.raises(ValueError, match=rf"2 prompts.*{number} samplings.*one for each"):
        loaded.generate(tiny.prompts(4, 5), [Sampling(1, 4)] * number)
    assert loaded.generate([], []) == []
