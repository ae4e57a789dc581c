"""The last layer at the tokens that are read gives what it gives among all tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaDecoderLayer

from reward_models import last_layer, reading
from reward_models.encoding import Encoded
from tests.reward_models.test_reading import model_of, rows_of

FAMILIES = [LlamaConfig, Qwen2Config, Qwen3Config, MistralConfig]
READS = [reading.read_whole, reading.read_shared]
Read = Callable[[Any, list[Encoded], int], torch.Tensor]


def watched(model: Any) -> list[int]:
    """Return what fills with the numbers of tokens that the last feed-forward network sees."""
    seen: list[int] = []
    last = [module for name, module in model.named_modules() if name.endswith("mlp")][-1]
    last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[:-1].numel()))
    return seen


def gradients(model: Any, logits_NH: torch.Tensor) -> list[torch.Tensor]:
    loss = (logits_NH.squeeze(-1) ** 2 * torch.arange(1, len(logits_NH) + 1)).sum()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return list(torch.autograd.grad(loss, trained, allow_unused=True))


def both(model: Any, read: Read, rows: list[Encoded], pad: int) -> list[Any]:
    """Return logits and gradients of the trimmed layer, then of the whole one."""
    results = []
    for share in (last_layer.READ, 0.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(last_layer, "READ", share)
            logits = read(model, rows, pad)
        results.append((logits.detach(), gradients(model, logits)))
    return results


def assert_equal(results: list[Any]) -> None:
    (logits, found), (expected, others) = results
    assert torch.allclose(logits, expected, atol=1e-10)
    for one, other in zip(found, others, strict=True):
        # These layers normalise in float32 whatever the weights are.
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("read", READS)
def test_no_logit_and_no_gradient_changes(family: type[PreTrainedConfig], read: Read) -> None:
    model = model_of(family)
    seen = watched(model.model)
    rows = rows_of(model, ragged=True)
    assert_equal(both(model.model, read, rows, model.pad))
    marks = {(row.token_ids[: mark + 1], row.question) for row in rows for mark in row.marks}
    assert seen[0] < seen[1] / 2
    assert seen[0] >= len(marks)


@pytest.mark.parametrize("read", READS)
def test_a_mark_that_comes_twice_is_read_once(read: Read) -> None:
    model = model_of(LlamaConfig)
    question = rows_of(model, ragged=False)[0].token_ids[:6]
    rows = [
        Encoded((*question, 9, 8, 7), (6, 6, 8), 6),
        Encoded((*question, 5), (5, 6), 6),
        Encoded(question, (5,), 6),
    ]
    seen = watched(model.model)
    assert_equal(both(model.model, read, rows, model.pad))
    # Three texts' own tokens, and the question's last, for an empty text or in each row.
    assert seen[0] <= 6


@pytest.mark.parametrize("read", READS)
def test_a_question_without_a_token_is_none(read: Read) -> None:
    model = model_of(LlamaConfig)
    rows = [Encoded((5, 6, 7, 8, 9), (4,), 0), Encoded((6, 7, 8, 9, 10, 11), (2, 5), 3)]
    assert_equal(both(model.model, read, rows, model.pad))


def test_adapters_of_the_last_layer_take_part() -> None:
    model = model_of(Qwen3Config)
    adapted = get_peft_model(
        model.model,
        LoraConfig(target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False),
    ).double()
    seen = watched(adapted)
    assert_equal(both(adapted, reading.read_whole, rows_of(model, ragged=True), model.pad))
    assert seen[0] < seen[1] / 2


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("reentrant", [True, False])
def test_layers_computed_again_for_the_gradient_are_trimmed_again(
    read: Read, reentrant: bool
) -> None:
    model = model_of(LlamaConfig)
    rows = rows_of(model, ragged=True)
    seen = watched(model.model)
    expected = both(model.model, read, rows, model.pad)[1]
    trimmed = seen[0]
    seen.clear()
    model.model.train()
    model.model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.model.enable_input_require_grads()
    logits = read(model.model, rows, model.pad)
    loss = (logits.squeeze(-1) ** 2 * torch.arange(1, len(logits) + 1)).sum()
    model.model.zero_grad()
    loss.backward()
    found = [parameter.grad for parameter in model.model.parameters()]
    assert_equal([(logits.detach(), found), expected])
    # Some versions of transformers compute the layer again, some keep what is replaced.
    assert set(seen) == {trimmed}


def test_layers_that_somebody_changed_or_watches_run_whole() -> None:
    model = model_of(LlamaConfig)
    rows = rows_of(model, ragged=True)
    seen = watched(model.model)

    def tokens() -> int:
        reading.read_whole(model.model, rows, model.pad)
        return seen.pop()

    trimmed = tokens()
    last = model.model.model.layers[-1]
    handle = last.self_attn.register_forward_hook(lambda *_: None)
    assert tokens() > 2 * trimmed
    handle.remove()
    for watch in (
        last.register_full_backward_hook,
        last.register_full_backward_pre_hook,
        last.register_forward_pre_hook,
    ):
        handle = watch(lambda *_: None)
        assert tokens() > 2 * trimmed
        handle.remove()
    last.forward = last.forward
    assert tokens() > 2 * trimmed
    del last.forward
    assert tokens() == trimmed

    class Own(LlamaDecoderLayer):
        pass

    last.__class__ = Own
    assert tokens() > 2 * trimmed


def test_little_is_gained_where_most_tokens_are_read() -> None:
    model = model_of(LlamaConfig)
    seen = watched(model.model)
    rows = [Encoded((5, 6, 7, 8, 9), (1, 2, 3, 4), 1)] * 3
    reading.read_whole(model.model, rows, model.pad)
    assert seen == [15]


def answers(model: Any) -> torch.Tensor:
    """Read two short texts, which gives what the model makes of each alone, trimmed or not."""
    rows = [Encoded((5, 6, 7, 8, 9), (4,), 2), Encoded((6, 7, 8, 9), (3,), 2)]
    logits = reading.read_whole(model, rows, 0)
    whole = [model(torch.tensor([row.token_ids])).logits[0, row.marks[0]] for row in rows]
    assert torch.allclose(logits, torch.stack(whole), atol=1e-5)
    return logits


@pytest.mark.parametrize("family", [Qwen2Config, Qwen3Config, LlamaConfig])
def test_windows_that_no_layer_has_are_none(family: type[PreTrainedConfig]) -> None:
    model = model_of(family).model
    model.config.sliding_window = 4
    seen = watched(model)
    answers(model)
    assert seen[0] == 2


def test_layers_that_do_not_run_are_not_the_last() -> None:
    model = model_of(LlamaConfig).model
    model.config.num_hidden_layers = 1
    answers(model)


def test_a_model_that_lists_layers_it_does_not_run_is_noticed() -> None:
    model = model_of(LlamaConfig).model
    backbone = model.model
    backbone.forward = lambda input_ids, **_: BaseModelOutput(backbone.embed_tokens(input_ids))
    with pytest.raises(RuntimeError, match="does not run the layers that it lists"):
        answers(model)


def test_attention_of_another_kind_runs_whole() -> None:
    model = model_of(LlamaConfig).model

    class Own(LlamaAttention):
        pass

    model.model.layers[-1].self_attn.__class__ = Own
    seen = watched(model)
    answers(model)
    assert seen[0] > 2


def test_scores_are_scaled_as_the_layer_has_it() -> None:
    model = model_of(LlamaConfig).model
    with torch.no_grad():
        # Clear opinions: what is scaled otherwise attends elsewhere.
        for name, weight in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weight.mul_(30)
    before = answers(model)
    model.model.layers[-1].self_attn.scaling /= 4
    assert not torch.allclose(answers(model), before)


def test_two_stacks_of_layers_run_whole() -> None:
    model = model_of(LlamaConfig).model
    model.other = torch.nn.Module()
    model.other.layers = torch.nn.ModuleList([torch.nn.Linear(1, 1)])
    seen = watched(model)
    answers(model)
    assert seen[0] > 2


def test_many_pairs_of_tokens_are_left_to_the_models_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of(LlamaConfig).model
    monkeypatch.setattr(last_layer, "_PAIRS", 1)
    seen = watched(model)
    answers(model)
    assert seen[0] > 2


def test_a_cache_that_the_configuration_asks_for_is_not_made() -> None:
    model = model_of(LlamaConfig).model
    model.config.use_cache = True
    answers(model)


def test_dropped_attention_weights_run_whole() -> None:
    model = model_of(LlamaConfig).model.train()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    assert last_layer._last(model) is None
    assert last_layer._last(model.eval()) is not None


def test_windows_run_whole() -> None:
    model = model_of(MistralConfig).model
    assert last_layer._last(model) is not None
    model.config.sliding_window = 4
    assert last_layer._last(model) is None
