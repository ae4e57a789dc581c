"""LoRA training: a low-rank change of the backbone, a head of its own, a standard checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForTokenClassification

from reward_models.adapters import NoLora, lora
from reward_models.model import RewardModel
from reward_models.training import TrainingSettings, train
from tests.reward_models.making import additions, llama, words

LoraLayer = pytest.importorskip("peft").tuners.lora.LoraLayer


def test_the_change_is_low_rank_and_the_checkpoint_loads_elsewhere(tmp_path: Path) -> None:
    tokenizer = words()
    model = RewardModel.from_shape(llama(len(tokenizer)), tokenizer)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    with lora(model, rank=2, alpha=4):
        trained = [name for name, value in model.model.named_parameters() if value.requires_grad]
        assert all("lora_" in name or "score" in name for name in trained)
        settings = TrainingSettings(learning_rate=1e-2, epochs=2)
        report = train(model, additions(200, 1), settings=settings)
    assert report.losses[-1] < report.losses[0]
    after = model.model.state_dict()
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        name for name in before if name.endswith("_proj.weight") or name.startswith("score.")
    }
    for name in changed - {"score.weight", "score.bias"}:
        change = (after[name] - before[name]).double()
        assert torch.linalg.matrix_rank(change, rtol=1e-4) <= 2, name

    model.save(tmp_path)
    assert not list(tmp_path.glob("adapter*"))
    rows = additions(20, 2)
    asked = [r.question for r in rows], [r.text for r in rows], [r.ends for r in rows]
    loaded = RewardModel.load(tmp_path).score(*asked)
    assert [row[0] for row in loaded] == pytest.approx([row[0] for row in model.score(*asked)])
    _, info = AutoModelForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_a_model_without_a_known_head_is_refused() -> None:
    tokenizer = words()
    model = RewardModel.from_shape(llama(len(tokenizer)), tokenizer)
    model.model = model.model.model
    with (
        pytest.raises(NoLora, match="no head called score or classifier"),
        lora(model, rank=2, alpha=4),
    ):
        pass


def fresh() -> RewardModel:
    tokenizer = words()
    return RewardModel.from_shape(llama(len(tokenizer)), tokenizer)


def test_settings_reach_the_adapters() -> None:
    model = fresh()
    with lora(model, rank=2, alpha=6, dropout=0.25, targets=("q_proj", "score")):
        layers = [layer for layer in model.model.modules() if isinstance(layer, LoraLayer)]
        # The head is trained whole, whatever is asked for.
        assert len(layers) == 2
        for layer in layers:
            assert layer.r == {"default": 2}
            assert layer.scaling == {"default": 3.0}
            assert layer.lora_dropout["default"].p == 0.25
        names = [name for name, _ in model.model.named_parameters() if "lora_" in name]
        assert all("q_proj" in name for name in names)
    assert not [layer for layer in model.model.modules() if isinstance(layer, LoraLayer)]


def test_adapters_are_merged_when_training_fails() -> None:
    model = fresh()
    with pytest.raises(KeyboardInterrupt), lora(model, rank=2, alpha=4):
        raise KeyboardInterrupt
    assert not [name for name in model.model.state_dict() if "lora_" in name]
    assert len(model.score(["How many?"], ["1"], [(1,)])) == 1


def test_a_process_without_the_whole_model_merges_nothing() -> None:
    model = fresh()
    with lora(model, rank=2, alpha=4):
        model.model = None
    assert model.model is None
