"""The scalar head at marked ends, on tiny real models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    LlamaForCausalLM,
    Qwen2Config,
)

from reward_models.calibration import Calibration
from reward_models.encoding import UnfitTokenizer
from reward_models.model import BrokenScores, DamagedModel, RewardModel, UntrainedHead, batches
from tests.reward_models.making import additions, byte_bpe, llama, words

QUESTIONS = ["Ann has 18 coins.", "How many?", "How many?", "Bob gives 9."]
TEXTS = ["18+5=23\n#### 23", "", "7*4=28\n", "#### 1"]
ENDS = [(8, 15), (0,), (7,), (6,)]


def fresh(seed: int = 0) -> RewardModel:
    tokenizer = byte_bpe()
    return RewardModel.from_shape(llama(len(tokenizer)), tokenizer, seed=seed)


def test_scores_equal_a_plain_forward_of_each_text_alone() -> None:
    model = fresh()
    scores = model.score(QUESTIONS, TEXTS, ENDS)
    for question, text, ends, row in zip(QUESTIONS, TEXTS, ENDS, scores, strict=True):
        prefix = model.tokenizer(question + "\n")["input_ids"]
        answer = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model.model(torch.tensor([prefix + answer])).logits[0, :, 0]
        assert len(row) == len(ends)
        assert row[-1] == pytest.approx(float(torch.sigmoid(logits[-1])), abs=1e-6)
        # Causal attention: the first end is scored as if the text stopped there.
        first = model.tokenizer(text[: ends[0]], add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model.model(torch.tensor([prefix + first])).logits[0, :, 0]
        assert row[0] == pytest.approx(float(torch.sigmoid(logits[-1])), abs=1e-6)


@pytest.mark.parametrize("tokens_per_batch", [1, 40, 10_000])
def test_batching_does_not_change_scores(tokens_per_batch: int) -> None:
    model = fresh()
    alone = [
        model.score([question], [text], [ends])[0]
        for question, text, ends in zip(QUESTIONS, TEXTS, ENDS, strict=True)
    ]
    together = model.score(QUESTIONS, TEXTS, ENDS, tokens_per_batch=tokens_per_batch)
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("together", [False, True])
def test_batches_keep_the_budget_and_every_row_once(together: bool) -> None:
    rows = fresh().encode(QUESTIONS * 5, TEXTS * 5, ENDS * 5)
    seen = []
    for batch in batches(rows, 64, together=together):
        longest = max(len(rows[row].token_ids) for row in batch)
        assert len(batch) == 1 or longest * len(batch) <= 64
        seen += batch
    assert sorted(seen) == list(range(20))


def test_groups_are_scored_as_their_members_alone() -> None:
    model = fresh()
    questions = [q for q in QUESTIONS[:2] for _ in range(4)]
    texts, ends = TEXTS * 2, ENDS * 2
    together = model.score(questions, texts, ends)
    for question, text, cut, row in zip(questions, texts, ends, together, strict=True):
        assert model.score([question], [text], [cut])[0] == pytest.approx(row, abs=1e-6)


def test_nothing_to_score_is_nothing() -> None:
    assert fresh().score([], [], []) == []


def test_checkpoint_loads_here_and_elsewhere(tmp_path: Path) -> None:
    model = fresh()
    model.save(tmp_path / "rm")
    assert (tmp_path / "rm" / "model.safetensors").is_file()
    again = RewardModel.load(tmp_path / "rm")
    assert again.score(QUESTIONS, TEXTS, ENDS) == model.score(QUESTIONS, TEXTS, ENDS)
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path / "rm")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "rm")
    ids = tokenizer(QUESTIONS[0] + "\n")["input_ids"] + tokenizer(TEXTS[0])["input_ids"]
    with torch.no_grad():
        logit = plain(torch.tensor([ids])).logits[0, -1, 0]
    assert model.logits(QUESTIONS[:1], TEXTS[:1], ENDS[:1])[0][-1] == pytest.approx(float(logit))


def test_separator_travels_with_the_checkpoint(tmp_path: Path) -> None:
    tokenizer = byte_bpe()
    model = RewardModel.from_shape(llama(len(tokenizer)), tokenizer, separator="\n\nAnswer: ")
    model.save(tmp_path)
    assert RewardModel.load(tmp_path).separator == "\n\nAnswer: "


def test_seed_fixes_the_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = fresh(1), fresh(1), fresh(2)
    assert torch.rand(1) == expected
    assert one.score(QUESTIONS, TEXTS, ENDS) == same.score(QUESTIONS, TEXTS, ENDS)
    assert one.score(QUESTIONS, TEXTS, ENDS) != other.score(QUESTIONS, TEXTS, ENDS)


def policy(folder: Path) -> LlamaForCausalLM:
    tokenizer = byte_bpe()
    model = LlamaForCausalLM(llama(len(tokenizer)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def test_backbone_keeps_a_policys_weights_and_a_shape_does_not(tmp_path: Path) -> None:
    trained = policy(tmp_path).model.layers[0].mlp.up_proj.weight
    started = RewardModel.from_backbone(tmp_path)
    assert torch.equal(started.model.model.layers[0].mlp.up_proj.weight, trained)
    scratch = RewardModel.from_shape(tmp_path)
    assert not torch.equal(scratch.model.model.layers[0].mlp.up_proj.weight, trained)
    assert scratch.model.config.hidden_size == started.model.config.hidden_size


def test_a_policy_is_not_loaded_as_a_reward_model(tmp_path: Path) -> None:
    policy(tmp_path)
    with pytest.raises(UntrainedHead, match="from_backbone"):
        RewardModel.load(tmp_path)
    # Even if its configuration claims one label: the head's weights are missing.
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "reward"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UntrainedHead, match=r"score\.weight"):
        RewardModel.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 100])
def test_weights_that_were_cut_off_are_refused(kept: int, tmp_path: Path) -> None:
    fresh().save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(DamagedModel, match="its weights cannot be read"):
        RewardModel.load(tmp_path)


def test_a_changed_tokenizer_is_refused(tmp_path: Path) -> None:
    fresh().save(tmp_path)
    byte_bpe(merges=30).save_pretrained(tmp_path)
    with pytest.raises(UnfitTokenizer, match="is not the one that"):
        RewardModel.load(tmp_path)


def test_broken_weights_are_told() -> None:
    model = fresh()
    with torch.no_grad():
        model.model.score.bias.fill_(float("nan"))
    with pytest.raises(BrokenScores, match="5 of 5 scores"):
        model.score(QUESTIONS, TEXTS, ENDS)


def test_context_is_the_models() -> None:
    assert fresh().context == 128


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_other_backbones(family: str) -> None:
    tokenizer = words()
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = (
        Qwen2Config(vocab_size=len(tokenizer), intermediate_size=64, num_key_value_heads=1, **shape)
        if family == "qwen2"
        else BertConfig(vocab_size=len(tokenizer), intermediate_size=64, **shape)
    )
    model = RewardModel.from_shape(config, tokenizer)
    scores = model.score(QUESTIONS, TEXTS, ENDS)
    assert [len(row) for row in scores] == [2, 1, 1, 1]
    alone = model.score(QUESTIONS[2:3], TEXTS[2:3], ENDS[2:3])
    # Padding is masked for bidirectional backbones too.
    assert alone[0] == pytest.approx(scores[2], abs=1e-5)


def test_calibration_is_saved_with_the_model_and_applied(tmp_path: Path) -> None:
    tokenizer = words()
    model = RewardModel.from_shape(llama(len(tokenizer)), tokenizer)
    rows = additions(12, 1)
    asked = [r.question for r in rows], [r.text for r in rows], [r.ends for r in rows]
    raw = model.score(*asked)
    model.calibration = Calibration("temperature", (0.0, 0.5, 1.0), (0.1, 0.2, 0.9))
    mapped = model.score(*asked)
    assert mapped == model.calibration.apply(raw) != raw
    model.save(tmp_path)
    loaded = RewardModel.load(tmp_path)
    assert loaded.calibration == model.calibration
    # Equal up to rounding: weights that lie elsewhere in memory are multiplied in other vectors.
    assert [row[0] for row in loaded.score(*asked)] == pytest.approx([row[0] for row in mapped])
    loaded.calibration = None
    loaded.save(tmp_path)
    plain = RewardModel.load(tmp_path).score(*asked)
    assert [row[0] for row in plain] == pytest.approx([row[0] for row in raw])
