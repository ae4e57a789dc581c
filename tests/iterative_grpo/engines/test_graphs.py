"""Decoding steps as CUDA graphs, on a GPU that is not there: equal tokens, far fewer launches."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from benchmarks import pretend_gpu
from benchmarks.pretend_gpu import Asked, attached
from iterative_grpo import precision
from iterative_grpo.engines import (
    _branches,
    _decoding,
    _graphs,
    _shared_cache,
    native,
    native_graphs,
)
from iterative_grpo.engines._shared_cache import BLOCK, Rows, SharedCache
from iterative_grpo.types import Sampling
from tests.iterative_grpo.engines import tiny

SAMPLINGS = [
    Sampling(64, 2 * BLOCK + 6, temperature=1.2, seed=1),
    Sampling(4, BLOCK + 1, temperature=0.3, top_k=5, seed=2),
    Sampling(2, 30, temperature=0, seed=3),
]


def sample(model: PreTrainedModel, **options: Any) -> list[list[tuple[int, ...]]]:
    prompts = [prompt.token_ids for prompt in tiny.prompts(5, 12, 3)]
    groups = native.sample_ids(model, prompts, SAMPLINGS, eos_token_ids=[7], **options)
    return [[row.token_ids for row in group] for group in groups]


def sample_on_gpu(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[list[list[tuple[int, ...]]], Asked]:
    # Parameters of a GPU that is not there have a class of their own.
    supported = _decoding.supports(model)
    monkeypatch.setattr(_decoding, "supports", lambda _: supported)
    monkeypatch.setattr(_shared_cache, "_GPU_BLOCK", BLOCK)  # short rows go on from block to block
    with attached() as asked:
        far = pretend_gpu.on_gpu(model)
        asked.clear()
        return sample(far, **options), asked


@pytest.mark.parametrize("share_branches", [True, False])
@pytest.mark.parametrize("fuse_layers", [True, False])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_graphs_sample_the_same_tokens(
    family: str, fuse_layers: bool, share_branches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model(family).eval()
    options = {"fuse_layers": fuse_layers, "share_branches": share_branches}
    expected = sample(model, **options)
    lengths = {len(row) for group in expected for row in group}
    assert len(lengths) > 4
    assert max(lengths) > BLOCK + 4
    plain, launched = sample_on_gpu(model, monkeypatch, **options)
    assert plain == expected
    replayed, asked = sample_on_gpu(model, monkeypatch, graphs=True, **options)
    assert replayed == expected
    assert asked.graphs >= 2  # a block of positions has its own
    assert asked.replays > 30
    assert asked.launches < launched.launches / 2


class Looking(torch.nn.Module):
    """A feed-forward part that looks at its result."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.inner(x)
        return made if made.isfinite().all() else made * 0


def test_layers_that_look_at_results_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama").eval()
    model.model.layers[1].mlp = Looking(model.model.layers[1].mlp)
    with pytest.raises(ValueError, match=r"cannot be captured.*'native' engine.*waits"):
        sample_on_gpu(model, monkeypatch, graphs=True, fuse_layers=False)


def test_a_graph_ends_with_the_order_of_its_rows_and_with_its_block() -> None:
    asked_for: list[int] = []

    def step(token_A: torch.Tensor, position_A: torch.Tensor) -> torch.Tensor:
        asked_for.append(cache.length)
        return token_A + position_A

    with attached() as asked:
        cache = SharedCache(layers=1, stems=1, longest=1, max_tokens=2)
        replayed = _graphs.Replayed(step, cache, pretend_gpu.DEVICE)
        stem_B = np.zeros(3, dtype=np.int64)
        given_B = torch.zeros(3, dtype=torch.long, device=pretend_gpu.DEVICE)
        given = []
        for length in range(BLOCK + 4):
            if length in (0, 5):  # as many rows, but others
                cache.rows = Rows(stem_B, stem_B, 1, 1, pretend_gpu.DEVICE)
            cache.reach(length)
            given.append((given_B + length, given_B + 2 * length))
            assert replayed(*given[-1]).tolist() == [3 * length] * 3
        # What was given is read, and never written to.
        assert [(t.tolist(), p.tolist()) for t, p in given] == [
            ([length] * 3, [2 * length] * 3) for length in range(BLOCK + 4)
        ]
    # Each layout is met, captured and replayed.
    assert asked_for == [0, 1, 5, 6, BLOCK, BLOCK + 1]
    assert asked.graphs == 3
    assert asked.replays == BLOCK + 4 - 3


def test_a_full_memory_is_told_as_such() -> None:
    def step(token_A: torch.Tensor, position_A: torch.Tensor) -> torch.Tensor:
        if torch.cuda.is_current_stream_capturing():
            raise torch.OutOfMemoryError("no room")
        return token_A + position_A

    with attached():
        cache = SharedCache(layers=1, stems=1, longest=1, max_tokens=2)
        replayed = _graphs.Replayed(step, cache, pretend_gpu.DEVICE)
        given = torch.zeros(1, dtype=torch.long, device=pretend_gpu.DEVICE)
        replayed(given, given)
        with pytest.raises(torch.OutOfMemoryError, match="no room"):
            replayed(given, given)


def test_a_model_on_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = native_graphs.load(tiny.model("llama"), tiny.NoEos())
    with pytest.raises(ValueError, match=r"NVIDIA GPU.*cpu.*'native' engine"):
        engine.generate(tiny.prompts(3), Sampling(1, 4))
    if not torch.cuda.is_available():
        assert "torch sees none" in str(native_graphs.lacking())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert native_graphs.lacking() is None


def test_the_engine_samples_what_native_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = tiny.model("qwen2"), tiny.prompts(4, 9)
    sampling = Sampling(3, 20, seed=5)
    expected = native.load(model, tiny.NoEos()).generate(prompts, sampling)
    with attached() as asked:
        far = pretend_gpu.on_gpu(model)
        found = native_graphs.load(far, tiny.NoEos()).generate(prompts, sampling)
        assert asked.replays > 0
    assert [[c.token_ids for c in g] for g in found] == [[c.token_ids for c in g] for g in expected]


@pytest.mark.parametrize("stop", [(), ("never",)])
def test_python_looks_at_a_gpu_once_a_step(
    stop: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While rows share branches; once they have parted, it looks every few steps."""
    monkeypatch.setattr(_branches, "_APART", 9.0)
    model, tokenizer = tiny.model("llama").eval(), tiny.tokenizer()
    supported = _decoding.supports(model)
    monkeypatch.setattr(_decoding, "supports", lambda _: supported)
    samplings = SAMPLINGS[0], replace(SAMPLINGS[0], temperature=0.7, top_k=9), SAMPLINGS[2]
    waits = {}
    with attached() as asked:
        engine = native.load(pretend_gpu.on_gpu(model), tokenizer)
        for steps in (10, 30):
            asked.clear()
            limited = [replace(each, max_tokens=steps, stop=stop) for each in samplings]
            groups = engine.generate(tiny.prompts(5, 12, 3), limited)
            assert max(len(c.token_ids) for group in groups for c in group) == steps
            waits[steps] = asked.waits
    assert waits[30] - waits[10] == 20
    assert waits[10] < 10 + 17  # prompts and results, whatever the number of layers


def test_stop_strings_are_found_between_the_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is looked at every few steps: rows may run further, but are cut at their strings."""
    model, tokenizer = tiny.model("llama").eval(), tiny.tokenizer()
    prompts = tiny.prompts(5, 12, 3)
    free = native.load(model, tokenizer).generate(prompts, Sampling(8, 40, seed=1))
    sampling = Sampling(8, 40, seed=1, stop=("w16",))
    expected = native.load(model, tokenizer).generate(prompts, sampling)
    assert 4 < sum("w16" in c.text for group in free for c in group) < 24
    supported = _decoding.supports(model)
    monkeypatch.setattr(_decoding, "supports", lambda _: supported)
    with attached():
        engine = native.load(pretend_gpu.on_gpu(model), tokenizer, share_branches=False)
        found = engine.generate(prompts, sampling)
    assert [[(c.text, c.finish) for c in group] for group in found] == [
        [(c.text, c.finish) for c in group] for group in expected
    ]


def steep(offset: float) -> Qwen2ForCausalLM:
    """Return a Qwen2 whose biases add so much to all scores, by the slowest of its rotations."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=256,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=64,
        max_position_embeddings=256,
        rope_theta=1e6,
        initializer_range=0.1,
    )
    model = Qwen2ForCausalLM(config).eval().requires_grad_(False)
    slow = [*range(26, 32), *range(58, 64)]
    for layer in model.model.layers:
        size = (offset * 8 / len(slow)) ** 0.5
        layer.self_attn.q_proj.bias.zero_().view(2, -1)[:, slow] = size / 4
        layer.self_attn.k_proj.bias.zero_()[slow] = size * 4
    return model


@pytest.mark.parametrize("graphs", [False, True])
def test_large_scores_are_not_rounded_to_the_precision_of_the_weights(graphs: bool) -> None:
    model = steep(300.0)
    low = copy.deepcopy(model)
    precision.cast(low, torch.bfloat16)
    prompts = [tuple((7 * i + 3 * p) % 256 for i in range(40)) for p in range(2)]
    with attached():
        groups = native.sample_ids(
            pretend_gpu.on_gpu(low),
            prompts,
            Sampling(4, 40, seed=1),
            eos_token_ids=(),
            graphs=graphs,
            share_branches=False,
        )

    def scored(by: PreTrainedModel) -> torch.Tensor:
        found = []
        for prompt, group in zip(prompts, groups, strict=True):
            for row in group:
                ids = torch.tensor([[*prompt, *row.token_ids]])
                logps = by(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
                found.append(logps.gather(1, ids[0, len(prompt) :, None])[:, 0])
        return torch.cat(found)

    exact = scored(model)
    ours = torch.tensor([logp for group in groups for row in group for logp in row.logps])
    kernel = (scored(low) - exact).abs().mean()
    low.set_attn_implementation("eager")
    rounded = (scored(low) - exact).abs().mean()
    assert rounded > 3 * kernel
    assert (ours - exact).abs().mean() < 1.3 * kernel
