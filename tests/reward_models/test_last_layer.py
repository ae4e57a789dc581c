"""The last layer at the tokens that are read gives what it gives among all tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForTokenClassification,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from iterative_grpo.attention import UnsupportedModel
from iterative_grpo.logps.rectangles import Span
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
    assert_equal(both(model.model, read, rows, model.pad))


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


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_cache": True}, "keeps a cache"),
        ({"attention_dropout": 0.5}, "drops attention weights"),
    ],
)
def test_what_the_trimmed_layer_does_not_know_is_refused(
    settings: dict[str, Any], reason: str
) -> None:
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        **{"use_cache": False, **settings},
    )
    model = LlamaForTokenClassification(config).train()
    ids = torch.arange(8)[None]
    spans = [Span(0, 8, asked=(7,))]
    with pytest.raises(UnsupportedModel, match=reason):
        last_layer.at(torch.tensor([7]), spans, model, None, lambda: model(ids).logits)


def test_windows_are_refused() -> None:
    model = model_of(MistralConfig)
    model.model.config.sliding_window = 4
    ids = torch.arange(8)[None]
    spans = [Span(0, 8, asked=(7,))]
    with pytest.raises(UnsupportedModel, match="in a window"):
        last_layer.at(torch.tensor([7]), spans, model.model, None, lambda: model.model(ids).logits)
