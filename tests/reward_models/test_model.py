"""The scalar head at marked ends, on tiny real models."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    LlamaForCausalLM,
    Qwen2Config,
)

from iterative_grpo import timing
from reward_models.calibration import Calibration
from reward_models.encoding import UnfitTokenizer
from reward_models.model import (
    NO_LIMIT,
    BrokenScores,
    DamagedModel,
    RewardModel,
    UntrainedBackbone,
    UntrainedHead,
    batches,
    sigmoid,
)
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
    whole = batches(rows, max(len(row.token_ids) for row in rows) * 20, together=together)
    assert [len(batch) for batch in whole] == [20]
    if together:
        asked = [rows[row].token_ids[: rows[row].question] for row in seen]
        assert sum(a != b for a, b in itertools.pairwise(asked)) == len(set(QUESTIONS)) - 1
    else:
        lengths = [len(rows[row].token_ids) for row in seen]
        assert lengths == sorted(lengths, reverse=True)


def test_groups_are_scored_as_their_members_alone() -> None:
    model = fresh()
    questions = [q for q in QUESTIONS[:2] for _ in range(4)]
    texts, ends = TEXTS * 2, ENDS * 2
    together = model.score(questions, texts, ends)
    for question, text, cut, row in zip(questions, texts, ends, together, strict=True):
        assert model.score([question], [text], [cut])[0] == pytest.approx(row, abs=1e-6)


def test_scoring_leaves_the_mode_as_it_was() -> None:
    model = fresh()
    for training in (True, False):
        model.model.train(training)
        model.score(QUESTIONS, TEXTS, ENDS)
        assert model.model.training is training


def test_a_tokenizer_without_a_pad_token_will_do() -> None:
    model = fresh()
    tokenizer = byte_bpe()
    tokenizer.pad_token = None
    bare = RewardModel(model.model, tokenizer)
    # Of nearly one length: they are padded, not packed.
    asked = ["Ann has 18.", "Ann has 1."], ["18+5=23", "18+5=2"], [(7,), (6,)]
    assert len({len(row.token_ids) for row in bare.encode(*asked)}) == 2
    assert bare.score(*asked) == model.score(*asked)


def test_sigmoid_does_not_overflow() -> None:
    assert [sigmoid(z) for z in (-1e4, 0.0, 1e4)] == [0.0, 0.5, 1.0]
    assert sigmoid(-2.0) == pytest.approx(1 - sigmoid(2.0))


def test_the_tokens_scored_are_counted() -> None:
    model = fresh()
    with timing.clock() as clock:
        model.score(QUESTIONS, TEXTS, ENDS)
    rows = model.encode(QUESTIONS, TEXTS, ENDS)
    assert clock.parts["score"].tokens == sum(len(row.token_ids) for row in rows)


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


def test_a_configuration_is_taken_as_it_is_and_left_so() -> None:
    tokenizer = byte_bpe()
    shape = llama(len(tokenizer))
    before = shape.to_dict()
    RewardModel.from_shape(shape, tokenizer, heads=3, separator=" ")
    assert shape.to_dict() == before
    with pytest.raises(UnfitTokenizer, match="names no tokenizer"):
        RewardModel.from_shape(shape)


def test_models_and_tokenizers_that_do_not_fit_are_refused() -> None:
    tokenizer = byte_bpe()
    with pytest.raises(UnfitTokenizer, match="do not belong together"):
        RewardModel.from_shape(llama(len(tokenizer) - 1), tokenizer)
    classes = AutoModelForTokenClassification.from_config(llama(len(tokenizer)))
    assert classes.config.num_labels == 2
    with pytest.raises(UntrainedHead, match="LABEL_0, LABEL_1"):
        RewardModel(classes, tokenizer)


def test_a_classifier_of_one_label_that_others_made_is_loaded(tmp_path: Path) -> None:
    tokenizer = byte_bpe()
    config = llama(len(tokenizer))
    config.num_labels = 1
    plain = AutoModelForTokenClassification.from_config(config)
    plain.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = RewardModel.load(tmp_path)
    assert model.heads == 1
    assert model.score(QUESTIONS, TEXTS, ENDS) == RewardModel(plain.eval(), tokenizer).score(
        QUESTIONS, TEXTS, ENDS
    )


def test_a_checkpoint_is_loaded_onto_the_device_asked_for(tmp_path: Path) -> None:
    fresh().save(tmp_path)
    assert RewardModel.load(tmp_path, device="meta").model.device.type == "meta"
    assert RewardModel.load(tmp_path).model.device.type == "cpu"


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


def test_the_head_on_a_backbone_is_drawn_by_the_seed_alone(tmp_path: Path) -> None:
    policy(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    heads = [
        RewardModel.from_backbone(tmp_path, seed=seed).model.score.weight for seed in (1, 1, 2)
    ]
    assert torch.rand(1) == expected
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_a_backbone_without_a_weight_is_refused(tmp_path: Path) -> None:
    policy(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UntrainedBackbone, match=r"1 weights are missing \(model\.norm\.weight\)"):
        RewardModel.from_backbone(tmp_path)


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


def test_one_missing_weight_is_enough_to_refuse(tmp_path: Path) -> None:
    fresh().save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UntrainedHead, match=r"weights of score\.weight are missing"):
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
    for broken in (float("nan"), float("inf")):
        with torch.no_grad():
            model.model.score.bias.fill_(broken)
        with pytest.raises(BrokenScores, match="5 of 5 scores"):
            model.score(QUESTIONS, TEXTS, ENDS)


def test_weights_keep_their_precision_unless_another_is_asked_for(tmp_path: Path) -> None:
    policy(tmp_path / "policy").bfloat16().save_pretrained(tmp_path / "policy")
    model = RewardModel.from_backbone(tmp_path / "policy")
    assert model.model.dtype == torch.bfloat16
    model.save(tmp_path / "rm")
    assert RewardModel.load(tmp_path / "rm").model.dtype == torch.bfloat16
    assert RewardModel.load(tmp_path / "rm", dtype="float32").model.dtype == torch.float32


def test_a_tokenizer_that_is_given_replaces_the_checkpoints(tmp_path: Path) -> None:
    policy(tmp_path)
    other = byte_bpe(merges=30)
    for made in (RewardModel.from_shape, RewardModel.from_backbone):
        assert len(made(tmp_path, other).tokenizer) == len(other)
        assert len(made(tmp_path).tokenizer) == len(byte_bpe())


def test_heads_have_names_both_ways() -> None:
    tokenizer = byte_bpe()
    config = RewardModel.from_shape(llama(len(tokenizer)), tokenizer, heads=2).model.config
    assert config.id2label == {0: "reward 0", 1: "reward 1"}
    assert config.label2id == {"reward 0": 0, "reward 1": 1}


def test_context_is_the_models() -> None:
    assert fresh().context == 128


def test_the_tokenizers_limit_counts_too() -> None:
    model = fresh()
    model.tokenizer.model_max_length = 50
    assert model.context == 50
    # A configuration that names no limit has none.
    model.model.config.max_position_embeddings = -1
    assert model.context == 50
    model.tokenizer.model_max_length = 10**30
    assert model.context == NO_LIMIT


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
    with torch.no_grad():
        # Fresh layers hardly look at other tokens; trained ones do.
        for weight in model.model.parameters():
            weight.mul_(8)
    scores = model.score(QUESTIONS, TEXTS, ENDS)
    assert [len(row) for row in scores] == [2, 1, 1, 1]
    alone = model.score(QUESTIONS[2:3], TEXTS[2:3], ENDS[2:3])
    # Padding is masked for bidirectional backbones too.
    assert alone[0] == pytest.approx(scores[2], abs=1e-5)
    # Each attends as it does by itself, to both sides or to what came before.
    (row,) = model.encode(QUESTIONS[2:3], TEXTS[2:3], ENDS[2:3])
    with torch.no_grad():
        logits = model.model.eval()(torch.tensor([row.token_ids])).logits[0, list(row.marks), 0]
    assert alone[0] == pytest.approx(tuple(logits.sigmoid().tolist()), abs=1e-5)


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
