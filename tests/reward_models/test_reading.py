"""A question read once for all its solutions gives the same logits and gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from iterative_grpo import attention
from iterative_grpo.logps import varlen
from reward_models import reading
from reward_models.adapters import lora
from reward_models.encoding import Encoded
from reward_models.model import RewardModel
from tests.iterative_grpo.logps.test_varlen import grouped
from tests.reward_models.making import words

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def model_of(family: type[PretrainedConfig]) -> RewardModel:
    tokenizer = words()
    config = family(vocab_size=len(tokenizer), sliding_window=None, **SHAPE)
    model = RewardModel.from_shape(config, tokenizer)
    model.model.double()
    return model


def rows_of(model: RewardModel, *, ragged: bool) -> list[Encoded]:
    questions = ["Ann has 18 coins.", "Bob has 7 boxes."] if ragged else ["Ann has 18 coins."]
    texts = ["18+5=23\n#### 23", "18+5=24\n#### 24", "18-5=13\n#### 13"]
    if ragged:
        questions.append("Bob gives 9. How many?")
        texts += ["", "#### 1"]
    asked = [question for question in questions for _ in texts]
    answered = texts * len(questions)
    ends = [tuple(sorted({min(8, len(text)), len(text)})) for text in answered]
    return model.encode(asked, answered, ends)


@pytest.mark.parametrize("family", [LlamaConfig, Qwen2Config, Qwen3Config, MistralConfig])
@pytest.mark.parametrize(("ragged", "kernel"), [(False, False), (True, False), (True, True)])
def test_sharing_changes_no_logit_and_no_gradient(
    family: type[PretrainedConfig], ragged: bool, kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel:
        monkeypatch.setattr(varlen, "DEVICES", ("cpu",))
        monkeypatch.setattr(varlen, "DTYPES", (torch.float64,))
        monkeypatch.setattr(varlen, "kernel", lambda: grouped)
    model = model_of(family)
    assert varlen.fits(model.model, torch.device("cpu")) is kernel
    rows = rows_of(model, ragged=ragged)
    results, gradients = [], []
    for read in (reading.read_whole, reading.read_shared):
        model.model.zero_grad()
        logits = read(model.model, rows, model.pad)
        (logits.squeeze(-1) ** 2 * torch.arange(1, len(logits) + 1)).sum().backward()
        results.append(logits.detach())
        gradients.append([parameter.grad.clone() for parameter in model.model.parameters()])
    with torch.inference_mode():
        assert torch.allclose(reading.read_shared(model.model, rows, model.pad), results[1])
    assert results[0].shape == (sum(len(row.marks) for row in rows), 1)
    assert torch.allclose(results[0], results[1], atol=1e-10)
    for one, other in zip(*gradients, strict=True):
        # These layers normalise in float32 whatever the weights are.
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5 * float(one.abs().max()))


@pytest.mark.parametrize("family", [LlamaConfig, Qwen2Config])
def test_equal_rows_are_read_once_with_the_gradients_of_all(
    family: type[PretrainedConfig],
) -> None:
    model = model_of(family)
    once = rows_of(model, ragged=True)
    drawn = torch.randint(len(once), (24,), generator=torch.Generator().manual_seed(0)).tolist()
    # Equal texts may be cut differently: each row gets the logits at its own marks.
    rows = [
        replace(once[i], marks=once[i].marks[-1:]) if place % 3 else once[i]
        for place, i in enumerate(drawn)
    ]
    seen: list[int] = []
    hook = model.model.model.embed_tokens.register_forward_hook(
        lambda _, ids, __: seen.append(ids[0].numel())
    )
    results, gradients = [], []
    for read in (reading.read_whole, reading.read):
        seen.clear()
        model.model.zero_grad()
        logits = read(model.model, rows, model.pad)
        (logits.squeeze(-1) ** 2 * torch.arange(1, len(logits) + 1)).sum().backward()
        results.append(logits.detach())
        gradients.append([parameter.grad.clone() for parameter in model.model.parameters()])
    hook.remove()
    distinct = [once[i] for i in set(drawn)]
    assert seen[-1] == reading.positions(distinct) < sum(len(row.token_ids) for row in distinct)
    assert results[0].shape == results[1].shape
    assert torch.allclose(results[0], results[1], atol=1e-10)
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5 * float(one.abs().max()))


def test_repeated_questions_are_shared_and_single_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of(LlamaConfig)
    used: list[str] = []
    for name in ("read_whole", "read_shared"):
        original = getattr(reading, name)

        def spy(*arguments: object, name: str = name, original: object = original) -> torch.Tensor:
            used.append(name)
            return original(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(reading, name, spy)
    rows = rows_of(model, ragged=True)
    reading.read(model.model, rows, model.pad)
    reading.read(model.model, rows[:1], model.pad)
    assert used == ["read_shared", "read_whole"]
    assert reading.positions(rows) < sum(len(row.token_ids) for row in rows)


@pytest.mark.parametrize(
    ("family", "windows"),
    [
        (Qwen2Config, {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
        (MistralConfig, {"sliding_window": 8}),
    ],
)
def test_windows_are_read_whole(
    family: type[PretrainedConfig], windows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = words()
    config = family(vocab_size=len(tokenizer), **windows, **SHAPE)
    model = RewardModel.from_shape(config, tokenizer)
    monkeypatch.setattr(reading, "read_shared", None)
    assert len(reading.read(model.model, rows_of(model, ragged=True) * 4, model.pad)) > 0


def test_families_whose_layers_are_not_known_are_read_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "read_shared", None)
    tokenizer = words()
    config = GemmaConfig(vocab_size=len(tokenizer), head_dim=8, **SHAPE)
    model = RewardModel.from_shape(config, tokenizer)
    assert not reading.shares(model.model)
    rows = rows_of(model, ragged=True)
    together = reading.read(model.model, rows, 0)
    alone = [reading.read(model.model, [row], 0) for row in rows]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


@pytest.mark.parametrize("family", [LlamaConfig, Qwen2Config, Qwen3Config, MistralConfig])
@pytest.mark.parametrize("small", [True, False])
def test_short_rows_are_read_as_the_model_reads_each_alone(
    family: type[PretrainedConfig], small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(family)
    rows = rows_of(model, ragged=True)
    monkeypatch.setattr(attention, "SMALL", 1000 if small else 1)

    def gradients(logits: torch.Tensor) -> list[torch.Tensor]:
        loss = (logits.squeeze(-1) ** 2 * torch.arange(1, len(logits) + 1)).sum()
        return list(torch.autograd.grad(loss, list(model.model.parameters())))

    found = reading.read_whole(model.model, rows, model.pad)
    alone = torch.cat(
        [model.model(torch.tensor([row.token_ids])).logits[0, list(row.marks)] for row in rows]
    )
    assert torch.allclose(found, alone, atol=1e-10)
    for one, other in zip(gradients(found), gradients(alone), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_equal_rows_are_dropped_each_by_itself() -> None:
    pytest.importorskip("peft")
    model = model_of(LlamaConfig)
    row = rows_of(model, ragged=True)[0]

    def read_twice() -> torch.Tensor:
        return reading.read(model.model, [row, row], model.pad).unflatten(0, (2, -1))

    with lora(model, rank=4, alpha=4, dropout=0.5):
        for name, weight in model.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.ones_(weight)
        model.model.train()
        one, other = read_twice()
        assert not torch.allclose(one, other)
        model.model.eval()
        one, other = read_twice()
        assert torch.equal(one, other)


def test_dropped_attention_weights_stay_the_models_own() -> None:
    tokenizer = words()
    config = LlamaConfig(vocab_size=len(tokenizer), attention_dropout=0.5, **SHAPE)
    model = RewardModel.from_shape(config, tokenizer)
    rows = rows_of(model, ragged=True)
    model.model.train()
    first, second = (reading.read_whole(model.model, rows, model.pad) for _ in range(2))
    assert not torch.allclose(first, second)
    model.model.eval()
    first, second = (reading.read_whole(model.model, rows, model.pad) for _ in range(2))
    assert torch.equal(first, second)
