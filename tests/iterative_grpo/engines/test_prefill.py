"""Passes over a prefix tree against a plain causal attention of each whole prompt."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.pretend_gpu import DEVICE, attached, on_gpu
from iterative_grpo.engines import _prefill, native
from iterative_grpo.engines._prefixes import Edge, plan
from iterative_grpo.types import Prompt, Sampling
from tests.iterative_grpo.engines import tiny
from tests.iterative_grpo.engines.test_native import assert_plain_logps, counted_tokens

CPU = torch.device("cpu")


def tree(seed: int = 0) -> list[tuple[int, ...]]:
    """Return prompts as step labels make them: a header, questions, first and second steps."""
    header, *parts = (p.token_ids for p in tiny.prompts(7, *[9, 4] * 9, seed=seed))
    questions, steps = parts[::2], parts[1::2]
    found = [header + question for question in questions[:4]]
    for question, (first, second) in itertools.product(
        questions[:3], itertools.combinations(steps[:5], 2)
    ):
        found += [header + question + first, header + question + first + second]
    return [*found, questions[5], questions[6] + steps[6]]


def nodes(prompts: Sequence[tuple[int, ...]]) -> int:
    return len({prompt[:n] for prompt in prompts for n in range(1, len(prompt) + 1)})


@pytest.fixture
def every_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep levels that save little, so that small trees have several."""
    monkeypatch.setattr(_prefill, "_LEVEL_TOKENS", {"cpu": 1})


@given(
    st.lists(
        st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), min_size=1, max_size=12
    )
)
def test_passes_attend_as_whole_prompts_do(prompts: list[tuple[int, ...]]) -> None:
    """Keys are made from tokens and positions, so a wrong token or place is a wrong number."""
    K, Q, D = 2, 2, 4
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(3, 9, K * Q + 2 * K, D, generator=generator, dtype=torch.float64)
    found = plan(prompts)
    longest = max(map(len, prompts))
    stored = torch.zeros(2, len(found.stems), K, longest, D, dtype=torch.float64)
    outputs: dict[tuple[int, ...], torch.Tensor] = {}
    for level in found.levels:
        part = _prefill.Pass(level, found.stems, CPU)
        made = table[part.ids[0], part.positions[0]].transpose(0, 1)[None]
        query, key, value = made.split([K * Q, K, K], dim=1)
        part.copies.store(key, stored[0])
        part.copies.store(value, stored[1])
        output = part.attend(query, key, value, stored[0], stored[1], 0.3)[0]
        for edge, first in zip(level, part.first_tokens, strict=True):
            for place in range(edge.stop - edge.start):
                stem = found.stems[edge.stems[0]]
                outputs[stem[: edge.start + place + 1]] = output[first + place]
    for stem, ids in enumerate(found.stems):
        whole = table[list(ids), list(range(len(ids)))].transpose(0, 1)
        query, key, value = whole.split([K * Q, K, K], dim=0)
        assert torch.equal(stored[0, stem, :, : len(ids)], key)
        assert torch.equal(stored[1, stem, :, : len(ids)], value)
        key, value = (x.repeat_interleave(Q, dim=0) for x in (key, value))
        scores = (query @ key.transpose(1, 2) * 0.3).masked_fill(
            torch.ones(len(ids), len(ids)).triu(1).bool(), -float("inf")
        )
        for position, expected in enumerate((scores.softmax(-1) @ value).transpose(0, 1)):
            torch.testing.assert_close(outputs[ids[: position + 1]], expected)


@given(
    st.lists(
        st.tuples(st.integers(0, 5_000), st.integers(1, 5_000))
        | st.tuples(st.integers(0, 50_000), st.integers(1, 20_000)),
        min_size=1,
        max_size=200,
    )
)
def test_passes_hold_every_edge_once_within_the_budget(sizes: list[tuple[int, int]]) -> None:
    level = [Edge(start, start + length, (i,)) for i, (start, length) in enumerate(sizes)]
    found = list(_prefill.passes(level))
    assert sorted(edge.stems[0] for edges in found for edge in edges) == list(range(len(level)))
    for edges in found:
        widest = max(edge.stop - edge.start for edge in edges)
        assert len(edges) * widest <= _prefill._TOKENS or len(edges) == 1
        assert len(edges) * max(edge.stop for edge in edges) <= _prefill._SEEN or len(edges) == 1
    for edges, after in itertools.pairwise(found):
        rows, edge = len(edges) + 1, after[0]
        assert rows * (edge.stop - edge.start) > _prefill._TOKENS or (
            rows * max(e.stop for e in (*edges, edge)) > _prefill._SEEN
        )


def test_a_pass_is_filled_to_its_last_token() -> None:
    for start, length in ((0, _prefill._TOKENS // 4), (_prefill._SEEN // 4 - 1, 1)):
        level = [Edge(start, start + length, (i,)) for i in range(8)]
        assert [len(edges) for edges in _prefill.passes(level)] == [4, 4]


def test_a_level_has_to_save_more_tokens_on_a_gpu() -> None:
    prompts = [(*range(200), last) for last in (0, 1)]
    for device, levels in ((CPU, 2), (DEVICE, 1)):
        assert len(plan(prompts, _prefill.level_tokens(device)).levels) == levels


@pytest.mark.usefixtures("every_level")
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_shared_tree_changes_no_token_and_no_probability(family: str) -> None:
    model = tiny.model(family, eos=[5, 9])
    prompts = [Prompt(f"p{i}", ids) for i, ids in enumerate(tree())]
    for sampling in (Sampling(1, 12, temperature=0), Sampling(3, 12, seed=2)):
        shared = native.load(model, tiny.NoEos()).generate(prompts, sampling)
        whole = native.load(model, tiny.NoEos(), share_prefixes=False).generate(prompts, sampling)
        for prompt, ours, theirs in zip(prompts, shared, whole, strict=True):
            assert [c.token_ids for c in ours] == [c.token_ids for c in theirs]
            for completion in ours:
                assert_plain_logps(model, prompt, completion)


def test_a_tree_is_shared_and_remembered_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_prefill, "_GPU_LEVEL_TOKENS", 1)
    model = tiny.model("qwen2").eval()
    prompts = [Prompt(f"p{i}", ids) for i, ids in enumerate(tree())]
    greedy = Sampling(1, 6, temperature=0)
    expected = native.load(model, tiny.NoEos(), share_prefixes=False).generate(prompts, greedy)
    with attached():
        engine = native.load(on_gpu(model), tiny.NoEos(), fuse_layers=False)
        with engine.remembering():
            for _ in range(2):
                found = engine.generate(prompts, greedy)
                assert [[c.token_ids for c in group] for group in found] == [
                    [c.token_ids for c in group] for group in expected
                ]


@pytest.mark.usefixtures("every_level")
def test_every_distinct_token_is_forwarded_once() -> None:
    model = tiny.model("qwen2")
    ids = tree()
    prompts = [Prompt(f"p{i}", token_ids) for i, token_ids in enumerate(ids)]
    with counted_tokens(model) as counts:
        native.load(model, tiny.NoEos()).generate(prompts, Sampling(2, 1))
    assert sum(counts) == nodes(ids)
    with counted_tokens(model) as counts:
        native.load(model, tiny.NoEos(), share_prefixes=False).generate(prompts, Sampling(2, 1))
    assert counts == [sum(map(len, plan(ids).stems))]
    assert counts[0] > 2 * nodes(ids)


@pytest.mark.usefixtures("every_level")
def test_turns_keep_together_what_shares_tokens() -> None:
    model = tiny.model("llama")
    ids = tree()[::-1]
    prompts = [Prompt(f"p{i}", token_ids) for i, token_ids in enumerate(ids)]
    sampling = Sampling(1, 3, temperature=0)
    whole = native.load(model, tiny.NoEos(), share_prefixes=False).generate(prompts, sampling)
    bytes_of_a_token = 2 * 4 * 8 * 2 * 4
    small = native.load(model, tiny.NoEos(), cache_gib=400 * bytes_of_a_token / 2**30)
    with counted_tokens(model) as counts:
        turns = small.generate(prompts, sampling)
    assert [[c.token_ids for c in g] for g in turns] == [[c.token_ids for c in g] for g in whole]
    read = sum(counts) - 2 * len(prompts)
    assert nodes(ids) < read < 1.5 * nodes(ids)


@pytest.mark.usefixtures("every_level")
def test_shared_prefixes_in_bfloat16_are_near() -> None:
    model = tiny.model("qwen2")
    prompts = [Prompt(f"p{i}", ids) for i, ids in enumerate(tree())]
    groups = native.load(model, tiny.NoEos(), dtype="bfloat16").generate(prompts, Sampling(2, 8))
    errors = []
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            expected = tiny.plain_logps(model, prompt, completion.token_ids)
            chosen = expected.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
            errors.append((torch.tensor(completion.logps) - chosen).abs().mean())
    assert 1e-4 < float(torch.stack(errors).mean()) < 0.1


def test_few_shared_tokens_are_not_worth_a_pass() -> None:
    model = tiny.model("llama")
    ids = [(5, 6, 7, *p.token_ids) for p in tiny.prompts(6, 8, 10)]
    with counted_tokens(model) as counts:
        native.load(model, tiny.NoEos()).generate(
            [Prompt(f"p{i}", token_ids) for i, token_ids in enumerate(ids)], Sampling(1, 1)
        )
    assert counts == [33]
