"""Prompts that the native engine remembers from call to call, against an engine that forgets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from iterative_grpo.engines import generate, native
from iterative_grpo.engines._memory import Memory
from iterative_grpo.engines._prefill import Pass
from iterative_grpo.engines._prefixes import common, plan
from iterative_grpo.protocols import Remembering
from iterative_grpo.types import Completion, Prompt, Sampling
from tests.iterative_grpo.engines import tiny
from tests.iterative_grpo.engines.test_native import assert_plain_logps, counted_tokens


def rounds() -> list[list[Prompt]]:
    """Return prompts as label rounds ask for them: questions, then steps, some of them again."""
    parts = [p.token_ids for p in tiny.prompts(12, 15, *[6] * 6)]
    steps = parts[2:]
    asked = [
        [parts[0], parts[1]],
        [parts[0] + steps[0], parts[0] + steps[1], parts[1] + steps[2]],
        [parts[0] + steps[0], parts[0] + steps[1] + steps[3], parts[1] + steps[4]],
        [parts[0] + steps[0], parts[0] + steps[0] + steps[5], parts[1][:9]],
    ]
    return [[Prompt(f"p{i}", ids) for i, ids in enumerate(call)] for call in asked]


def label(engine: native.Engine, sampling: Sampling) -> Iterator[list[list[Completion]]]:
    for prompts in rounds():
        yield engine.generate(prompts, sampling)


def sampled(engine: native.Engine, sampling: Sampling) -> list[tuple[int, ...]]:
    return [c.token_ids for groups in label(engine, sampling) for group in groups for c in group]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_remembering_changes_no_token_and_no_probability(family: str) -> None:
    model = tiny.model(family, eos=[5, 9])
    engine = native.load(model, tiny.NoEos())
    for sampling in (Sampling(1, 10, temperature=0), Sampling(3, 10, seed=4)):
        with engine.remembering():
            remembered = list(label(engine, sampling))
        for prompts, ours, theirs in zip(
            rounds(), remembered, label(engine, sampling), strict=True
        ):
            for prompt, group, expected in zip(prompts, ours, theirs, strict=True):
                assert [c.token_ids for c in group] == [c.token_ids for c in expected]
                for completion in group:
                    assert_plain_logps(model, prompt, completion)


def read(model: PreTrainedModel, engine: native.Engine) -> list[int]:
    """Return the prompt tokens that each round computes."""
    found = []
    for prompts in rounds():
        with counted_tokens(model) as counts:
            engine.generate(prompts, Sampling(2, 1))
        found.append(sum(counts))
    return found


def test_what_was_computed_before_is_not_computed_again() -> None:
    model = tiny.model("qwen2")
    engine = native.load(model, tiny.NoEos())
    with engine.remembering():
        # Steps of six tokens; of what is known whole, the last token.
        assert read(model, engine) == [27, 18, 1 + 6 + 6, 1 + 6 + 1]
    whole = [sum(len(prompt.token_ids) for prompt in prompts) for prompts in rounds()]
    assert read(model, engine) == [27, *whole[1:3], whole[3] - len(rounds()[3][0].token_ids)]
    apart = native.load(model, tiny.NoEos(), share_prefixes=False)
    with apart.remembering():
        assert read(model, apart) == read(model, engine)


def test_it_starts_over_where_memory_is_short() -> None:
    model = tiny.model("llama")
    room = 45 * 2 * 4 * 8 * 2 * 4 / 2**30
    engine = native.load(model, tiny.NoEos(), cache_gib=room)
    greedy = Sampling(1, 4, temperature=0)
    expected = sampled(engine, greedy)
    with engine.remembering():
        memory = engine._memory
        assert memory is not None
        assert memory.limit == 45
        for _ in range(2):
            assert sampled(engine, greedy) == expected
            assert 0 < memory.tokens <= memory.limit
            keys, values = memory.states(0)
            assert keys.shape[2] == values.shape[2] == memory.tokens
    assert engine._memory is None


def test_changed_weights_are_noticed() -> None:
    model = tiny.model("llama")
    engine = native.load(model, tiny.NoEos())
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    with engine.remembering():
        first = sampled(engine, Sampling(2, 6))
        model(torch.tensor([[3, 4, 5]])).logits.square().mean().backward()
        optimizer.step()
        second = sampled(engine, Sampling(2, 6))
    assert second == sampled(engine, Sampling(2, 6)) != first


def test_weights_put_in_place_of_others_are_noticed() -> None:
    model = tiny.model("llama")
    engine = native.load(model, tiny.NoEos())
    with engine.remembering():
        first = sampled(engine, Sampling(2, 6))
        embeddings = model.get_input_embeddings()
        changed = embeddings.weight.detach().flip(0)
        while changed._version < embeddings.weight._version:
            changed.mul_(1)
        embeddings.weight = torch.nn.Parameter(changed)
        second = sampled(engine, Sampling(2, 6))
    assert second == sampled(engine, Sampling(2, 6)) != first


def test_weights_that_count_no_changes_are_remembered() -> None:
    with torch.inference_mode():
        model = tiny.model("llama")
    engine = native.load(model, tiny.NoEos())
    with engine.remembering():
        assert read(model, engine) == [27, 18, 1 + 6 + 6, 1 + 6 + 1]


@given(
    st.lists(
        st.lists(
            st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1, max_size=6
        ),
        min_size=2,
        max_size=4,
    )
)
def test_as_much_is_known_of_a_prompt_as_it_shares_with_any_before(
    calls: list[list[tuple[int, ...]]],
) -> None:
    memory = Memory(1_000)
    for asked in (calls, calls[::-1]):
        memory.clear()
        before: list[tuple[int, ...]] = []
        for prompts in asked:
            for prompt in prompts:
                assert memory.known(prompt) == max((common(it, prompt) for it in before), default=0)
            made = plan(prompts, known=memory.known)
            memory.recall(made)
            for level in made.levels:
                part = Pass(level, made.stems, torch.device("cpu"))
                states = torch.zeros(1, 1, part.ids.numel(), 1)
                memory.keep(0, states, states)
                memory.passed(part)
            memory.learn(made)
            before += prompts


def test_weights_borrowed_in_another_precision_are_not_changed() -> None:
    model = tiny.model("qwen2")
    engine = native.load(model, tiny.NoEos(), dtype="bfloat16")
    with engine.remembering():
        groups = [group for groups in label(engine, Sampling(2, 6)) for group in groups]
        assert read(model, engine)[0] == 2
    prompts = [prompt for prompts in rounds() for prompt in prompts]
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            assert_plain_logps(model, prompt, completion, atol=0.5)


def test_a_call_that_fails_leaves_nothing_wrong() -> None:
    model = tiny.model("qwen2")
    engine = native.load(model, tiny.NoEos())
    greedy = Sampling(1, 5, temperature=0)
    expected = sampled(engine, greedy)
    with engine.remembering():
        engine.generate(rounds()[0], greedy)
        handle = model.model.layers[1].register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.generate(rounds()[1], greedy)
        handle.remove()
        assert sampled(engine, greedy) == expected


def test_engines_say_whether_they_remember() -> None:
    model = tiny.model("llama")
    assert isinstance(native.load(model, tiny.NoEos()), Remembering)
    assert not isinstance(generate.load(model, tiny.NoEos()), Remembering)


def test_an_inner_context_leaves_the_outer_one_its_memory() -> None:
    engine = native.load(tiny.model("llama"), tiny.NoEos())
    with engine.remembering():
        outer = engine._memory
        with engine.remembering():
            assert engine._memory is not outer
        assert engine._memory is outer is not None
    assert engine._memory is None
