"""What ends a completion, before anything is sampled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from iterative_grpo.engines._endings import PromptTooLong, check_prompts, eos_token_ids
from iterative_grpo.types import Prompt, Sampling


def test_every_holder_of_eos_ids_is_asked_and_each_id_named_once() -> None:
    holders = [SimpleNamespace(eos_token_id=ids) for ids in ([151_645, 7], 151_643, 7)]
    for generation, own, tokenizer in (holders, holders[1:] + holders[:1]):
        model = SimpleNamespace(generation_config=generation, config=own)
        assert eos_token_ids(model, tokenizer) == (7, 151_643, 151_645)
    none = SimpleNamespace(eos_token_id=None)
    assert eos_token_ids(SimpleNamespace(config=none), none) == ()


def test_a_prompt_may_fill_the_context_with_its_answer() -> None:
    prompts = [Prompt("a", (3,) * 6), Prompt("b", (3,) * 5)]
    samplings = [Sampling(1, 4), Sampling(1, 5)]
    check_prompts(prompts, samplings, 10)
    check_prompts(prompts, samplings, None)
    with pytest.raises(PromptTooLong, match=r"a: a prompt of 6 tokens .*\(2 of 2 prompts"):
        check_prompts(prompts, samplings, 9)
