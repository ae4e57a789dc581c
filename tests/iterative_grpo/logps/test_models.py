"""Which models our own head scores, by what they say of themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from iterative_grpo.logps import models
from tests.iterative_grpo.logps.making import decoder


@pytest.fixture
def model() -> PreTrainedModel:
    made: PreTrainedModel = decoder("llama", torch.float32)
    return made


def test_a_plain_decoder_is_ours(model: PreTrainedModel) -> None:
    assert models.only_trl(model, model) is None
    assert models.not_shared(model) is None


@pytest.mark.parametrize(
    "name",
    [
        "final_logit_softcapping",
        "logit_scale",
        "output_multiplier",
        "lm_head_multiplier",
        "logits_scaling",
    ],
)
def test_what_changes_logits_is_trls_but_a_factor_of_one(name: str, model: PreTrainedModel) -> None:
    for value in (None, 1, 1.0):
        setattr(model.config, name, value)
        assert models.only_trl(model, model) is None
    setattr(model.config, name, 0.5)
    assert models.only_trl(model, model) == f"its configuration has {name}"


def test_other_builds_are_trls(model: PreTrainedModel) -> None:
    assert models.only_trl(model.model, model.model) == "its backbone and its head are one module"
    adapter = SimpleNamespace(is_prompt_learning=True)
    adapted = SimpleNamespace(peft_config={"default": adapter})
    assert models.only_trl(adapted, model) == "its adapter learns a prompt"
    adapter.is_prompt_learning = False
    assert models.only_trl(adapted, model) is None
    model.config.is_encoder_decoder = True
    assert models.only_trl(model, model) == "it is an encoder-decoder"
    model.lm_head = torch.nn.Sequential(model.lm_head)
    assert models.only_trl(model, model) == "its head is Sequential, not a linear layer"


@pytest.mark.parametrize("place", ["head", "embeddings"])
@pytest.mark.parametrize(
    ("mark", "reason"),
    [("ds_id", "DeepSpeed shards its parameters"), ("full_tensor", "its parameters are sharded")],
)
def test_weights_in_shards_are_trls(
    place: str, mark: str, reason: str, model: PreTrainedModel
) -> None:
    held: Any = model.lm_head if place == "head" else model.get_input_embeddings()
    setattr(held.weight, mark, 0)
    assert models.only_trl(model, model) == reason


def test_weights_elsewhere_are_trls(model: PreTrainedModel) -> None:
    model.lm_head.to("meta")
    assert models.only_trl(model, model) == "it lies on several devices"


def test_a_model_without_attention_from_outside_shares_no_prompt(model: PreTrainedModel) -> None:
    model._supports_attention_backend = False
    assert models.not_shared(model) == "it takes no attention function from outside"


def test_dropout_counts_where_something_is_dropped_now(model: PreTrainedModel) -> None:
    model.eval()
    model.config.attention_dropout = 0.1
    assert not models.drops(model)
    assert models.drops(model.train())
    model.config.attention_dropout = 0.0
    assert not models.drops(model)
    layer = torch.nn.Dropout(0.0)
    model.model.layers[0].added = layer
    assert not models.drops(model)
    layer.p = 0.1
    assert models.drops(model)
    layer.eval()
    assert not models.drops(model)


def test_a_model_in_deepspeeds_engine_is_taken_out(model: PreTrainedModel) -> None:
    class DeepSpeedEngine(torch.nn.Module):
        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module

    assert models.unparallel(DeepSpeedEngine(model)) is model
    assert models.unwrapped(DeepSpeedEngine(model)) is model
    assert models.unparallel(model) is model
