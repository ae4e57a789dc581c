"""Each path against one unpadded row at a time, and what falls back to which."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertLMHeadModel, PhimoeConfig, PhimoeForCausalLM

from iterative_grpo.logps import paths, rectangles
from iterative_grpo.logps.packing import Rows, budgeted
from iterative_grpo.logps.paths import Logps, Path, UnscorableModel
from pipelines import world
from tests.iterative_grpo.logps.making import (
    FAMILIES,
    TEMPERATURE,
    VOCABULARY,
    Batch,
    batch,
    decoder,
    distance,
    gradient,
    oracle,
)


def compute(
    model: Any, rows: Batch, wanted: Path = "shared", logps: Logps | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores on a path of ours; the check that precedes it is against the oracle."""

    logps = logps or Logps(TEMPERATURE, contextlib.nullcontext)

    def stock(ids: torch.Tensor, mask: torch.Tensor, columns: int) -> torch.Tensor:
        with logps.autocast():
            return oracle(model, Batch(ids, mask, columns))[0]

    found = logps(
        model, rows.ids, rows.mask, rows.columns, wanted=wanted, entropy=True, stock=stock
    )
    assert found is not None
    assert found[1] is not None
    return found[0], found[1]


def weighted(scores: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """A loss in which every log-probability and entropy has a weight of its own."""
    generator = torch.Generator().manual_seed(3)
    total = torch.zeros((), dtype=scores[0].dtype)
    for values in scores:
        weights = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        total = total + (values * weights.to(values.dtype)).sum()
    return total


@pytest.mark.parametrize("group", [2, 3, 8])
@pytest.mark.parametrize("wanted", ["shared", "plain"])
@pytest.mark.parametrize("family", FAMILIES)
def test_ragged_groups_score_and_differentiate_as_single_rows(
    family: str, wanted: Path, group: int, caplog: pytest.LogCaptureFixture
) -> None:
    model, rows = decoder(family), batch(group=group)
    expected = oracle(model, rows)
    found = compute(model, rows, wanted)
    assert not caplog.records
    assert distance(found[0], expected[0]) < 1e-12
    assert distance(found[1], expected[1]) < 1e-12
    assert distance(gradient(model, weighted(found)), gradient(model, weighted(expected))) < 1e-10


@pytest.mark.parametrize("wasted", [0, 25, 10_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_completions_may_be_attended_from_in_any_cut(
    family: str, wasted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rectangles, "_WASTED_PAIRS", {"cpu": wasted})
    model, rows = decoder(family), batch(group=8)
    found, expected = compute(model, rows), oracle(model, rows)
    assert distance(found[0], expected[0]) < 1e-12
    assert distance(gradient(model, weighted(found)), gradient(model, weighted(expected))) < 1e-10


@pytest.mark.parametrize("wanted", ["shared", "plain"])
def test_float32_rounds_like_single_rows(wanted: Path) -> None:
    model, rows = decoder("qwen2", torch.float32, spread=0.1), batch(group=8)
    found, expected = compute(model, rows, wanted), oracle(model, rows)
    assert found[0].dtype is torch.float32
    assert distance(gradient(model, weighted(found)), gradient(model, weighted(expected))) < 1e-6


@pytest.mark.parametrize("wanted", ["shared", "plain"])
def test_bfloat16_scores_in_float32(wanted: Path) -> None:
    model, rows = decoder("llama", torch.bfloat16), batch()
    found = compute(model, rows, wanted)[0]
    assert found.dtype is torch.float32
    assert distance(found, oracle(decoder("llama", torch.float32), rows)[0]) < 0.05


@pytest.mark.parametrize("wanted", ["shared", "plain"])
def test_chunks_by_token_budget_change_nothing(
    wanted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = decoder("llama"), batch()
    calls: list[int] = []
    model.model.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(paths, "TOKEN_BUDGET", 30)
    with torch.no_grad():
        found = compute(model, rows, wanted)
    assert len(calls) > 3
    assert distance(found[0], oracle(model, rows)[0]) < 1e-12


@pytest.mark.parametrize("tokens", [1, 30, 47, 48, 10_000])
def test_chunks_are_as_large_as_the_budget_allows(tokens: int) -> None:
    given = batch((9, 5, 1, 1))
    rows = Rows.read(given.ids, given.mask, given.columns)
    assert rows is not None
    sizes, of_groups = [], list(budgeted(rows, rows.groups(), tokens))
    for groups in of_groups:
        sizes.append([])
        for group in groups:
            completions = sum(rows.completion_lengths[row] for row in group)
            sizes[-1].append(rows.prompt_lengths[group[0]] + completions)
    assert list(itertools.chain(*of_groups)) == rows.groups()
    assert all(sum(own) <= tokens or len(own) == 1 for own in sizes)
    assert all(sum(own) + after[0] > tokens for own, after in itertools.pairwise(sizes))

    def padded(chunk: list[int]) -> int:
        prompt = max(rows.prompt_lengths[row] for row in chunk)
        return len(chunk) * (prompt + max(rows.completion_lengths[row] for row in chunk))

    chunks = paths._similar(rows, tokens)
    assert sorted(itertools.chain(*chunks)) == list(range(16))
    assert all(padded(chunk) <= tokens or len(chunk) == 1 for chunk in chunks)
    assert all(padded([*own, after[0]]) > tokens for own, after in itertools.pairwise(chunks))


def test_rows_of_a_group_need_not_lie_together() -> None:
    model, rows = decoder("llama"), batch()
    order = torch.randperm(len(rows.ids), generator=torch.Generator().manual_seed(0))
    mixed = Batch(rows.ids[order], rows.mask[order], rows.columns)
    assert distance(compute(model, mixed)[0], oracle(model, mixed)[0]) < 1e-12


def test_a_prompt_is_computed_once() -> None:
    model, rows = decoder("llama"), batch((30,), group=8)
    seen: list[int] = []
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    compute(model, rows, logps=logps)
    model.model.embed_tokens.register_forward_hook(lambda _, ids, __: seen.append(ids[0].numel()))
    compute(model, rows, logps=logps)
    completions = rows.mask[:, -rows.columns :].sum(1)
    assert seen == [30 + int((completions - 1).clamp(min=0).sum())]


def repeating(prompts: tuple[int, ...] = (9, 5, 1), group: int = 8) -> Batch:
    """Groups in which completions come again; the very last is the start of another."""
    rows = batch(prompts, group)
    drawn = torch.randint(0, 3, (len(prompts), group), generator=torch.Generator().manual_seed(1))
    source = (drawn + torch.arange(len(prompts))[:, None] * group).flatten()
    ids, mask = rows.ids[source].clone(), rows.mask[source].clone()
    ids[-1], mask[-1] = ids[-group], mask[-group]
    longest = int(mask[-1].nonzero().max())
    mask[-1, longest] = ids[-1, longest] = 0
    return Batch(ids, mask, rows.columns)


@pytest.mark.parametrize("wanted", ["shared", "prompts"])
@pytest.mark.parametrize("family", FAMILIES)
def test_completions_that_come_again_score_and_differentiate_as_single_rows(
    family: str, wanted: Path
) -> None:
    model, rows = decoder(family), repeating()
    found, expected = compute(model, rows, wanted), oracle(model, rows)
    assert distance(found[0], expected[0]) < 1e-12
    assert distance(found[1], expected[1]) < 1e-12
    assert distance(gradient(model, weighted(found)), gradient(model, weighted(expected))) < 1e-10


@pytest.mark.parametrize("wanted", ["shared", "prompts"])
def test_equal_completions_are_computed_once_on_the_shared_path(wanted: Path) -> None:
    model, rows = decoder("llama"), repeating((30,), 12)
    seen: list[int] = []
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    compute(model, rows, wanted, logps)
    model.model.embed_tokens.register_forward_hook(lambda _, ids, __: seen.append(ids[0].numel()))
    compute(model, rows, wanted, logps)
    completions = [
        tuple(ids[mask.bool()].tolist())
        for ids, mask in zip(rows.ids[:, 30:], rows.mask[:, 30:], strict=True)
    ]
    once, again = (
        sum(max(len(ids) - 1, 0) for ids in of) for of in (set(completions), completions)
    )
    assert once < again
    assert seen == [30 + (once if wanted == "shared" else again)]


@pytest.mark.parametrize("first", ["plain", "prompts"])
def test_the_path_is_the_one_that_is_wanted_whichever_was_before(first: Path) -> None:
    model, rows = decoder("llama"), repeating((30,), 12)
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    seen: list[int] = []
    model.model.embed_tokens.register_forward_hook(lambda _, ids, __: seen.append(ids[0].numel()))
    tokens = {}
    for wanted in (first, "shared", first):
        compute(model, rows, wanted, logps)
        compute(model, rows, wanted, logps)
        tokens.setdefault(wanted, seen[-1])
        assert seen[-1] == tokens[wanted]
    assert tokens["shared"] < tokens[first]


def test_one_output_a_prompt_is_on_the_shared_path(caplog: pytest.LogCaptureFixture) -> None:
    model, rows = decoder("llama"), batch((9, 5), group=1)
    assert distance(compute(model, rows)[0], oracle(model, rows)[0]) < 1e-12
    assert not caplog.records


def test_a_first_batch_without_tokens_decides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    model, rows = decoder("llama"), batch((30,), group=8)
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    masked = rows.mask.clone()
    masked[:, -rows.columns :] = 0
    assert not compute(model, Batch(rows.ids, masked, rows.columns), logps=logps)[0].any()
    compute(model, rows, logps=logps)
    seen: list[int] = []
    model.model.embed_tokens.register_forward_hook(lambda _, ids, __: seen.append(ids[0].numel()))
    compute(model, rows, logps=logps)
    assert seen[-1] < rows.mask.sum()
    assert not caplog.records


def test_the_check_leaves_every_layer_in_its_mode() -> None:
    model, rows = decoder("llama").train(), batch()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    compute(model, rows)
    assert [module.training for module in model.modules()] == modes


def test_a_path_that_fails_is_left_but_not_for_want_of_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [torch.OutOfMemoryError("none left"), RuntimeError("no such kernel")]

    def fail(*_: Any, **__: Any) -> None:
        raise errors[0]

    monkeypatch.setattr(paths, "_shared", fail)
    model, rows = decoder("llama"), batch()
    with pytest.raises(torch.OutOfMemoryError):
        compute(model, rows)
    errors.pop(0)
    assert distance(compute(model, rows)[0], oracle(model, rows)[0]) < 1e-12
    assert "not on the shared path: RuntimeError: no such kernel" in caplog.text


def test_numbers_that_are_none_agree_with_nothing() -> None:
    expected = torch.tensor([[-1.0, -2.0]])
    assert paths._disagreement(expected, expected, torch.float32) is None
    assert paths._disagreement(expected * torch.nan, expected, torch.float32) is not None


def test_other_tokens_are_of_the_vocabulary() -> None:
    assert paths._two_others(np.array([0, 2]), 50) == [1, 3]
    assert paths._two_others(np.array([0, 2]), 4) == [1, 3]
    assert paths._two_others(np.array([0, 2, 1]), 3) == [0, 1]


def test_masked_batches_have_a_gradient_of_zero() -> None:
    model, rows = decoder("llama"), batch()
    compute(model, rows)
    rows.mask[:, -rows.columns :] = 0
    found = compute(model, rows)
    assert not found[0].any()
    assert not gradient(model, found[0].sum()).any()


def test_low_rank_adapters_and_their_absence() -> None:
    adapted = get_peft_model(
        decoder("llama"),
        LoraConfig(target_modules=["q_proj", "v_proj"], r=4, init_lora_weights=False),
    ).double()
    rows = batch()
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    found, expected = compute(adapted, rows, logps=logps), oracle(adapted, rows)
    assert distance(found[0], expected[0]) < 1e-12
    assert distance(gradient(adapted, weighted(found)), gradient(adapted, weighted(expected))) < (
        1e-10
    )
    with adapted.disable_adapter():
        without = compute(adapted, rows, logps=logps)[0]
        assert distance(without, oracle(adapted, rows)[0]) < 1e-12
    assert distance(without, found[0]) > 1e-3


@pytest.fixture
def one_process(tmp_path: FilePath) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    world.leave()


@pytest.mark.usefixtures("one_process")
def test_data_parallel_models_see_their_forward_pass() -> None:
    """Gradients are averaged only if DDP's own forward pass came before them."""
    inner = decoder("llama")
    parallel = nn.parallel.DistributedDataParallel(inner)
    calls: list[int] = []
    parallel.register_forward_hook(lambda *_: calls.append(1))
    rows = batch()
    expected = gradient(inner, weighted(oracle(inner, rows)))

    def stock(ids: torch.Tensor, mask: torch.Tensor, columns: int) -> torch.Tensor:
        return oracle(inner, Batch(ids, mask, columns))[0]

    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    found = logps(
        parallel, rows.ids, rows.mask, rows.columns, wanted="shared", entropy=True, stock=stock
    )
    assert found is not None
    assert found[1] is not None
    assert calls == [1]
    assert distance(gradient(inner, weighted((found[0], found[1]))), expected) < 1e-10
    assert "forward" not in vars(inner)


@pytest.mark.parametrize("reentrant", [True, False])
def test_layers_that_are_computed_again_attend_the_same(reentrant: bool) -> None:
    model, rows = decoder("llama"), batch()
    expected = gradient(model, weighted(oracle(model, rows)))
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    model.train()
    assert distance(gradient(model, weighted(compute(model, rows))), expected) < 1e-10
    assert model.config._attn_implementation == "sdpa"


def test_autocast_scores_in_its_precision() -> None:
    model, rows = decoder("llama", torch.float32, spread=0.1), batch()

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16)

    found = compute(model, rows, logps=Logps(TEMPERATURE, autocast))
    expected = oracle(model, rows)
    assert 1e-5 < distance(found[0], expected[0]) < 0.05
    difference = distance(gradient(model, weighted(found)), gradient(model, weighted(expected)))
    assert 1e-5 < difference < 0.1


def in_bfloat16(way: str) -> tuple[Any, Logps]:
    """A model that computes in bfloat16, and whose stock path returns float32 as TRL's does."""
    if way == "weights":
        return decoder("llama", torch.bfloat16), Logps(TEMPERATURE, contextlib.nullcontext)
    autocast = functools.partial(torch.autocast, "cpu", torch.bfloat16)
    return decoder("llama", torch.float32), Logps(TEMPERATURE, autocast)


def scored(model: Any, logps: Logps, rows: Batch) -> None:
    def stock(ids: torch.Tensor, mask: torch.Tensor, columns: int) -> torch.Tensor:
        with logps.autocast():
            return oracle(model, Batch(ids, mask, columns))[0].float()

    logps(model, rows.ids, rows.mask, rows.columns, wanted="shared", entropy=False, stock=stock)


@pytest.mark.parametrize("way", ["weights", "autocast"])
def test_rounding_of_bfloat16_is_no_disagreement(
    way: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, logps = in_bfloat16(way)
    off = []
    disagreement = paths._disagreement

    def seen(found: torch.Tensor, expected: torch.Tensor, precision: torch.dtype) -> str | None:
        off.append(disagreement(found, expected, torch.float32))
        return disagreement(found, expected, precision)

    monkeypatch.setattr(paths, "_disagreement", seen)
    scored(model, logps, batch())
    assert not caplog.records
    assert off[-1] is not None  # by what float32 would have to reach, it is one


@pytest.mark.parametrize("way", ["weights", "autocast"])
def test_a_model_that_computes_otherwise_is_noticed_in_bfloat16(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, logps = in_bfloat16(way)
    model.model.layers[0].mlp = Mixing(model.model.layers[0].mlp)
    # One token of many: on average within what rounding makes of them all.
    scored(model, logps, batch((9,), columns=100))
    assert "not on the shared path: it differs by" in caplog.text
    assert "with the completion packed before" in caplog.text


class Mixing(nn.Module):
    """A layer of its own that mixes neighbours, as convolutions and recurrences do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.inner(x + nn.functional.pad(x, (0, 0, 1, 0))[:, :-1])
        return mixed


def test_a_model_that_computes_otherwise_is_noticed_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = decoder("llama")
    model.model.layers[0].mlp = Mixing(model.model.layers[0].mlp)
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            compute(model, batch(prompts=(5, 5), even=True), logps=logps)
    assert len(caplog.records) == 1
    assert "not on the shared path: it differs" in caplog.text
    even = batch(prompts=(5, 5), even=True)
    assert distance(compute(model, even, logps=logps)[0], oracle(model, even)[0]) < 1e-12


SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}


def test_a_window_that_is_all_in_the_masks_is_noticed_before_a_row_reaches_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.manual_seed(0)
    model = PhimoeForCausalLM(
        PhimoeConfig(**SMALL, num_key_value_heads=2, num_local_experts=2, sliding_window=8)
    )
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    short, long = batch((3,), columns=4), batch((20, 9), columns=12)
    compute(model, short, logps=logps)
    assert "it has sliding_window=8" in caplog.text
    assert distance(compute(model, long, logps=logps)[0], oracle(model, long)[0]) < 1e-5


def test_a_head_that_is_more_than_a_product_is_refused() -> None:
    """TRL and our paths leave out what lies between backbone and head, and agree."""
    torch.manual_seed(0)
    model = BertLMHeadModel(BertConfig(**SMALL, is_decoder=True)).eval()

    def stock(ids: torch.Tensor, _: torch.Tensor, columns: int) -> torch.Tensor:
        hidden = model.base_model(ids).last_hidden_state
        scores = (model.get_output_embeddings()(hidden) / TEMPERATURE).log_softmax(-1)
        logps: torch.Tensor = scores[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
        return logps[:, -columns:]

    rows = batch()
    with pytest.raises(UnscorableModel, match="off the model's own logits"):
        Logps(TEMPERATURE, contextlib.nullcontext)(
            model, rows.ids, rows.mask, rows.columns, wanted="plain", entropy=False, stock=stock
        )


@pytest.mark.parametrize("sizes", [(1, 1), (1, 2), (3, 4)])
def test_few_tokens_in_bfloat16_are_no_other_head(sizes: tuple[int, int]) -> None:
    model = decoder("llama", torch.bfloat16, spread=0.02).eval()

    def stock(ids: torch.Tensor, _: torch.Tensor, columns: int) -> torch.Tensor:
        # As TRL's fused head: the product in float32.
        hidden = model.base_model(ids).last_hidden_state.float()
        weights = model.get_output_embeddings().weight.float()
        scores = (hidden @ weights.T / TEMPERATURE).log_softmax(-1)
        logps: torch.Tensor = scores[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
        return logps[:, -columns:]

    prompt, columns = sizes
    for group in range(2, 14):  # which seeds the draw
        rows = batch((prompt,), group=group, columns=columns)
        # Raises UnscorableModel, were the spread of a few numbers the measure.
        Logps(TEMPERATURE, contextlib.nullcontext)(
            model, rows.ids, rows.mask, rows.columns, wanted="plain", entropy=False, stock=stock
        )


@pytest.mark.parametrize("wanted", ["shared", "prompts"])
def test_dropout_is_drawn_for_each_row(wanted: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, rows = decoder("llama"), batch()
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    model.train()
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    found = compute(model, rows, wanted, logps)[0]
    assert "dropout" in caplog.text
    assert distance(found, compute(model, rows, wanted, logps)[0]) > 1e-3
    model.eval()
    assert distance(compute(model, rows, wanted, logps)[0], oracle(model, rows)[0]) < 1e-12


@pytest.mark.parametrize("unusual", ["softcap", "empty prompt", "hole", "wrapper"])
def test_what_is_left_to_trl_is_said(unusual: str, caplog: pytest.LogCaptureFixture) -> None:
    model: Any = decoder("llama")
    rows = batch()
    if unusual == "softcap":
        model.config.final_logit_softcapping = 30.0
    elif unusual == "wrapper":
        model = nn.Sequential(model)
    elif unusual == "hole":
        rows.mask[0, -3] = 0
    else:
        rows.mask[0, : -rows.columns] = 0
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    for _ in range(2):
        found = logps(
            model,
            rows.ids,
            rows.mask,
            rows.columns,
            wanted="shared",
            entropy=False,
            stock=lambda *_: torch.zeros(()),
        )
        assert found is None
    assert len(caplog.records) == 1
    assert "TRL" in caplog.text
