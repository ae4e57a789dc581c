"""What only the native engine promises: less work, the same results, and honest refusals."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    Llama4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MiniMaxConfig,
    MistralConfig,
    MixtralConfig,
    PhimoeConfig,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from iterative_grpo.engines import _decoding, _shared_cache, generate, native
from iterative_grpo.engines._decoding import NoDistribution, cache_tokens
from iterative_grpo.engines._draws import streams
from iterative_grpo.engines._requests import Request
from iterative_grpo.engines._shared_cache import BLOCK, UnsupportedModel
from iterative_grpo.types import Completion, Finish, Prompt, Sampling
from tests.iterative_grpo.engines import tiny

ENDING = [5, 9, 14]


@contextmanager
def counted_tokens(model: PreTrainedModel) -> Iterator[list[int]]:
    """Collect the number of tokens of each forward pass."""
    counts: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(
        lambda _module, args, _output: counts.append(args[0].numel())
    )
    yield counts
    handle.remove()


def assert_plain_logps(
    model: PreTrainedModel, prompt: Prompt, completion: Completion, atol: float = 1e-5
) -> None:
    expected = tiny.plain_logps(model, prompt, completion.token_ids)
    chosen = expected.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
    reported = torch.tensor(completion.logps, dtype=torch.float64)
    torch.testing.assert_close(reported, chosen, atol=atol, rtol=0)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_rows_stay_themselves_while_others_finish_and_leave(family: str) -> None:
    model = tiny.model(family, eos=ENDING)
    question, tail, *others = (p.token_ids for p in tiny.prompts(9, 6, 3, 14, 7, 20))
    ids = [question, question + tail[:2], *others, question + tail, question]
    prompts = [Prompt(f"p{i}", token_ids) for i, token_ids in enumerate(ids)]
    groups = native.load(model, tiny.NoEos()).generate(prompts, Sampling(6, 40, seed=3))
    lengths = set()
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            assert_plain_logps(model, prompt, completion)
            lengths.add(len(completion.token_ids))
    assert len(lengths) > 8


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_rows_go_on_from_block_to_block_of_the_cache(family: str) -> None:
    model = tiny.model(family)
    length = 2 * BLOCK + 3
    prompts = tiny.prompts(3, 20)
    groups = native.load(model, tiny.NoEos()).generate(prompts, Sampling(2, length, seed=5))
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            assert len(completion.token_ids) == length
            assert_plain_logps(model, prompt, completion)


def test_results_do_not_depend_on_how_prompts_are_batched() -> None:
    model = tiny.model("llama", eos=ENDING)
    prompts = tiny.prompts(4, 18, 9, 9, 2)
    sampling = Sampling(3, 20, temperature=0.8, top_p=0.9, seed=11)
    together = native.load(model, tiny.NoEos()).generate(prompts, sampling)
    alone = [native.load(model, tiny.NoEos()).generate([p], sampling)[0] for p in prompts]
    turns = native.load(model, tiny.NoEos(), cache_gib=1e-6).generate(prompts, sampling)
    for other in (alone, turns):
        assert [[c.token_ids for c in g] for g in other] == [
            [c.token_ids for c in g] for g in together
        ]


@pytest.mark.parametrize(
    ("room", "rows", "sizes"), [(20, 2, [2, 2]), (19, 2, [1] * 4), (20, 1, [1] * 4)]
)
def test_batches_take_as_much_as_there_is_room_for(room: int, rows: int, sizes: list[int]) -> None:
    sampling = Sampling(1, 6)
    prompts = [(token,) * 4 for token in (3, 5, 7, 9)]
    requests = [
        Request(ids, sampling, None, stream)
        for ids, stream in zip(prompts, streams(prompts, [sampling] * 4), strict=True)
    ]
    found = list(_decoding.batches(requests, room, rows))
    assert [len(batch) for batch in found] == sizes
    assert sorted(itertools.chain(*found)) == [0, 1, 2, 3]


def test_an_end_that_no_vocabulary_holds_ends_nothing() -> None:
    prompts, sampling = tiny.prompts(4, 9), Sampling(3, 20, seed=3)
    found, expected = (
        native.load(tiny.model("llama", eos=eos), tiny.NoEos()).generate(prompts, sampling)
        for eos in ([5, 10_000], [5])
    )
    assert found == expected


def test_rows_of_a_batch_are_bounded_by_their_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts, sampling = tiny.model("llama"), tiny.prompts(4, 9, 3), Sampling(2, 5, seed=3)
    together = native.load(model, tiny.NoEos()).generate(prompts, sampling)
    rows: list[int] = []
    sample = _decoding.Decoder.sample

    def counted(decoder: Any, requests: Any) -> Any:
        rows.append(sum(request.sampling.group_size for request in requests))
        return sample(decoder, requests)

    monkeypatch.setattr(_decoding.Decoder, "sample", counted)
    monkeypatch.setattr(_decoding, "_LOGITS", 5 * model.config.vocab_size)
    bounded = native.load(model, tiny.NoEos()).generate(prompts, sampling)
    assert rows == [4, 2]
    assert [[c.token_ids for c in group] for group in bounded] == [
        [c.token_ids for c in group] for group in together
    ]


def test_room_is_counted_in_the_precision_of_the_cache() -> None:
    model = tiny.model("llama")
    room = cache_tokens(model, 1.0)
    assert cache_tokens(model.bfloat16(), 1.0) == room  # a CPU keeps float32
    for dtype, times in ((torch.float32, 1), (torch.bfloat16, 2)):
        far = SimpleNamespace(config=model.config, device=torch.device("cuda"), dtype=dtype)
        assert cache_tokens(far, 1.0) == times * room


def test_the_cache_takes_no_memory_in_advance() -> None:
    prompts, sampling = tiny.prompts(4, 9), Sampling(2, 5, seed=3)
    model = tiny.model("llama")
    petabyte = native.load(model, tiny.NoEos(), cache_gib=2.0**20)
    assert petabyte.generate(prompts, sampling) == native.load(model, tiny.NoEos()).generate(
        prompts, sampling
    )


def test_keys_and_values_are_given_back_with_their_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[weakref.ref[_shared_cache.SharedLayer]] = []

    class Layer(_shared_cache.SharedLayer):
        def __init__(self, cache: _shared_cache.SharedCache) -> None:
            super().__init__(cache)
            made.append(weakref.ref(self))

    monkeypatch.setattr(_shared_cache, "SharedLayer", Layer)
    model = tiny.model("llama")
    gc.disable()  # they are gone before anybody collects
    try:
        native.load(model, tiny.NoEos(), cache_gib=1e-6).generate(
            tiny.prompts(4, 9, 6), Sampling(3, 5)
        )
        assert len(made) == 3 * 2
        assert not [layer for layer in made if layer() is not None]
    finally:
        gc.enable()


def test_a_seed_gives_each_prompt_and_sample_its_own_stream() -> None:
    model = tiny.model("llama")
    prompts = tiny.prompts(5, 5)
    few = native.load(model, tiny.NoEos()).generate(prompts, Sampling(2, 10))
    many = native.load(model, tiny.NoEos()).generate(prompts[::-1], Sampling(4, 10))[::-1]
    for small, large in zip(few, many, strict=True):
        assert [c.token_ids for c in large[:2]] == [c.token_ids for c in small]


def test_a_prompt_is_forwarded_once_for_its_group_and_its_prefixes() -> None:
    model = tiny.model("llama")
    long = tiny.prompts(30)[0].token_ids
    prompts = [Prompt(f"step{i}", long[:n]) for i, n in enumerate((10, 18, 25, 30))]
    with counted_tokens(model) as counts:
        native.load(model, tiny.NoEos()).generate(prompts, Sampling(5, 4))
    assert counts == [30, 20, 20, 20]


def test_requests_with_samplings_of_their_own_share_a_batch() -> None:
    samplings = [Sampling(5, 4, temperature=0.5), Sampling(3, 2, top_k=4, seed=9)]
    model = tiny.model("llama")
    with counted_tokens(model) as counts:
        native.load(model, tiny.NoEos(), share_branches=False).generate(
            tiny.prompts(10, 10), samplings
        )
    assert counts == [20, 8, 5, 5]


def test_finished_rows_are_not_carried_along() -> None:
    model = tiny.model("llama", eos=ENDING)
    prompts = tiny.prompts(*range(3, 23))
    with counted_tokens(model) as counts:
        groups = native.load(model, tiny.NoEos()).generate(prompts, Sampling(4, 60))
    completions = list(itertools.chain(*groups))
    needed = sum(len(c.token_ids) - (c.finish is Finish.STOP) for c in completions)
    prefill = sum(range(3, 23))
    assert sum(counts) <= prefill + needed * 17 / 16 + len(completions)
    assert len(counts) <= max(len(c.token_ids) for c in completions)


def test_bfloat16_is_near_and_the_weights_come_back_untouched() -> None:
    model = tiny.model("qwen2")
    before = {name: (p.data_ptr(), p.dtype) for name, p in model.named_parameters()}
    values = [p.clone() for p in model.parameters()]
    prompts = tiny.prompts(5, 11)
    groups = native.load(model, tiny.NoEos(), dtype="bfloat16").generate(prompts, Sampling(4, 12))
    assert {name: (p.data_ptr(), p.dtype) for name, p in model.named_parameters()} == before
    assert all(torch.equal(p, v) for p, v in zip(model.parameters(), values, strict=True))
    errors = []
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            assert_plain_logps(model, prompt, completion, atol=0.5)
            expected = tiny.plain_logps(model, prompt, completion.token_ids)
            chosen = expected.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
            errors.append((torch.tensor(completion.logps) - chosen).abs().mean())
    # It is bfloat16 that ran: near, and not as near as float32.
    assert 1e-4 < float(torch.stack(errors).mean()) < 0.1


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_it_samples_in_the_precision_that_is_named(name: str) -> None:
    model = tiny.model("llama").bfloat16()
    seen: set[torch.dtype] = set()
    model.lm_head.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    engine = native.load(model, tiny.NoEos(), dtype=name, fuse_layers=False)
    engine.generate(tiny.prompts(4), Sampling(2, 3))
    assert seen == {getattr(torch, name)}


def test_layers_are_joined_only_where_they_are_asked_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(_decoding, "supports", lambda model: bool(asked.append(model)))
    for fuse in (False, True):
        native.load(tiny.model("llama"), tiny.NoEos(), fuse_layers=fuse).generate(
            tiny.prompts(4), Sampling(2, 3)
        )
        assert bool(asked) == fuse


def test_the_weights_come_back_when_sampling_fails() -> None:
    model = tiny.model("llama")
    dtypes = [p.dtype for p in model.parameters()]
    implementation = model.config._attn_implementation
    model.lm_head.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        native.load(model, tiny.NoEos(), dtype="bfloat16").generate(tiny.prompts(4), Sampling(1, 4))
    assert [p.dtype for p in model.parameters()] == dtypes
    assert model.config._attn_implementation == implementation
    assert model.training
    model.lm_head._forward_hooks.clear()
    assert not model.lm_head._forward_pre_hooks
    model(torch.tensor([[3, 4]])).logits.sum().backward()


SMALL = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
REFUSED = {
    "sliding_window": MistralConfig(**SMALL, sliding_window=8),
    "softcap": Gemma2Config(**SMALL, head_dim=8, layer_types=["full_attention"] * 2),
    "sliding_attention": Gemma2Config(**SMALL, head_dim=8),
    "attention functions from outside": BloomConfig(
        vocab_size=tiny.VOCABULARY, hidden_size=32, n_layer=2, n_head=4
    ),
    "MambaForCausalLM": MambaConfig(
        vocab_size=tiny.VOCABULARY, hidden_size=32, num_hidden_layers=2
    ),
    "cross-attention": GPT2Config(
        vocab_size=tiny.VOCABULARY, n_embd=32, n_layer=2, n_head=4, add_cross_attention=True
    ),
    "PhimoeForCausalLM has sliding_window": PhimoeConfig(
        **SMALL, num_local_experts=2, sliding_window=8
    ),
    "attn_temperature_tuning": Llama4TextConfig(
        **SMALL, head_dim=8, num_local_experts=2, layer_types=["full_attention"] * 2
    ),
    "cache of its own": MiniMaxConfig(
        **SMALL, head_dim=8, num_local_experts=2, layer_types=["full_attention"] * 2
    ),
    "dynamic rotary": LlamaConfig(
        **SMALL,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_it_does_not_compute_is_refused_with_a_way_out(reason: str) -> None:
    config: PreTrainedConfig = REFUSED[reason]
    model = AutoModelForCausalLM.from_config(config)
    implementation = model.config._attn_implementation
    with pytest.raises(UnsupportedModel, match=rf"{reason}.*use the 'generate' engine"):
        native.load(model, tiny.NoEos()).generate(tiny.prompts(4), Sampling(1, 2))
    assert model.config._attn_implementation == implementation
    (group,) = generate.load(model, tiny.NoEos()).generate(tiny.prompts(4), Sampling(1, 2))
    assert len(group[0].token_ids) == 2


def test_an_adapter_is_sampled_with_its_model() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(tiny.model("llama"), settings)
    prompts = tiny.prompts(6, 11)
    sampling = Sampling(1, 12, temperature=0)
    adapted = native.load(model, tiny.NoEos()).generate(prompts, sampling)
    expected = generate.load(model, tiny.NoEos()).generate(prompts, sampling)
    with model.disable_adapter():
        plain = native.load(model, tiny.NoEos()).generate(prompts, sampling)
    for ours, reference, base in zip(adapted, expected, plain, strict=True):
        assert ours[0].token_ids == reference[0].token_ids != base[0].token_ids


@pytest.mark.parametrize("around_all", [False, True])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_model_under_autocast_is_sampled_in_its_precision(family: str, around_all: bool) -> None:
    model = tiny.model(family).eval()
    prompt = tiny.prompts(9)[0]
    plain = model.forward
    # As accelerate wraps a policy in training.
    model.forward = torch.autocast("cpu", torch.bfloat16)(plain)
    with torch.autocast("cpu", torch.bfloat16, enabled=around_all):
        (group,) = native.load(model, tiny.NoEos()).generate([prompt], Sampling(8, 40))
    for completion in group:
        with torch.no_grad():
            ids = torch.tensor([[*prompt.token_ids, *completion.token_ids]])
            logps = model(ids).logits[0, 8:-1].float().log_softmax(-1)
        expected = logps.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        off = (torch.tensor(completion.logps) - expected).abs()
        assert off.mean() < 0.03
    model.forward = plain
    with pytest.raises(AssertionError):  # in float32 they are others
        assert_plain_logps(model, prompt, group[0])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("vocabulary", [24, 2000])
def test_a_policy_that_diverged_is_refused(vocabulary: int, temperature: float) -> None:
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=vocabulary, hidden_size=16, intermediate_size=16, **shape)
    model = LlamaForCausalLM(config)
    torch.nn.init.constant_(model.model.norm.weight, 1e38)
    torch.nn.init.constant_(model.lm_head.weight, 1e38)
    with pytest.raises(NoDistribution, match="diverged"):
        native.load(model, tiny.NoEos()).generate(tiny.prompts(4), Sampling(3, 4, temperature))


def test_experts_are_sampled() -> None:
    torch.manual_seed(0)
    config = MixtralConfig(
        **SMALL, num_local_experts=4, initializer_range=0.25, sliding_window=None
    )
    model = AutoModelForCausalLM.from_config(config)
    prompts = tiny.prompts(3, 14, 7)
    groups = native.load(model, tiny.NoEos()).generate(prompts, Sampling(3, 40, seed=1))
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            assert_plain_logps(model, prompt, completion, atol=1e-4)


def test_a_window_that_a_configuration_only_carries_along_is_none() -> None:
    """Converted checkpoints keep keys that their new class does not know."""
    config = LlamaConfig(**SMALL, initializer_range=0.25)
    config.sliding_window = 8
    model = AutoModelForCausalLM.from_config(config)
    (prompt,) = tiny.prompts(14)
    ((completion,),) = native.load(model, tiny.NoEos()).generate([prompt], Sampling(1, 20, seed=1))
    assert_plain_logps(model, prompt, completion, atol=1e-4)


def test_a_model_that_sees_later_tokens_is_refused() -> None:
    model = AutoModelForCausalLM.from_config(
        BertConfig(vocab_size=24, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    )
    with pytest.raises(UnsupportedModel, match="'generate' engine"):
        native.load(model, tiny.NoEos()).generate(tiny.prompts(4), Sampling(1, 2))


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="LlamaModel has no output embeddings"):
        native.check_model(tiny.model("llama").model)


def test_a_layer_that_keeps_nothing_in_the_cache_is_refused() -> None:
    class Passing(torch.nn.Module):
        def forward(self, hidden_states: torch.Tensor, **_: Any) -> torch.Tensor:
            return hidden_states

    model = tiny.model("llama")
    model.model.layers[1] = Passing()
    with pytest.raises(UnsupportedModel, match="used the cache 1 times for 2 layers"):
        native.load(model, tiny.NoEos()).generate(tiny.prompts(4), Sampling(1, 2))


def test_an_encoder_decoder_is_refused() -> None:
    config = T5Config(vocab_size=24, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=4)
    with pytest.raises(UnsupportedModel, match="encoder-decoder"):
        native.load(T5ForConditionalGeneration(config), tiny.NoEos()).generate(
            tiny.prompts(4), Sampling(1, 2)
        )


@pytest.mark.parametrize(
    ("option", "value"),
    [("dtype", "bf17"), ("cache_gib", 0), ("cache_gib", float("inf")), ("cache_gib", float("nan"))],
)
def test_wrong_options_are_named(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option.split("_")[0]):
        native.load(tiny.model("llama"), tiny.NoEos(), **{option: value})
