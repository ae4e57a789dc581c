"""The implicit model: its formula, its start at one half, and step scores from outcome labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from iterative_grpo.splitters import lines
from reward_models.encoding import UnfitTokenizer
from reward_models.implicit import ImplicitRewardModel
from reward_models.sources import model as model_source
from reward_models.training import TrainingSettings, train
from tests.reward_models.labels.chain import PROBLEM, completion
from tests.reward_models.making import additions, byte_bpe, llama, words

ASK = (["Ann has 18 coins.", "How many?"], ["18+5=23\n#### 23", ""], [(8, 15), (0,)])


def policy(folder: Path) -> Path:
    tokenizer = words()
    torch.manual_seed(0)
    LlamaForCausalLM(llama(len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_start_is_one_half_everywhere(tmp_path: Path) -> None:
    model = ImplicitRewardModel.from_policy(policy(tmp_path))
    assert model.score(*ASK) == [(0.5, 0.5), (0.5,)]


def test_scores_are_the_summed_log_ratios_of_the_solution(tmp_path: Path) -> None:
    model = ImplicitRewardModel.from_policy(policy(tmp_path), beta=0.3)
    with torch.no_grad():
        model.model.lm_head.weight.mul_(3)
    (row, empty) = model.logits(*ASK)
    question = model.tokenizer("Ann has 18 coins.\n")["input_ids"]
    for end, found in zip(ASK[2][0], row, strict=True):
        text = model.tokenizer(ASK[1][0][:end], add_special_tokens=False)["input_ids"]
        total = 0.0
        for at in range(len(text)):
            prefix = torch.tensor([question + text[:at]])
            for each, sign in ((model.model, 1), (model.reference, -1)):
                with torch.no_grad():
                    logps = each(prefix).logits[0, -1].log_softmax(-1)
                total += sign * float(logps[text[at]])
        assert found == pytest.approx(0.3 * total, rel=1e-4)
    assert empty == (0.0,)


def test_a_text_without_a_token_before_it_is_no_ratio(tmp_path: Path) -> None:
    model = ImplicitRewardModel.from_policy(policy(tmp_path))
    with torch.no_grad():
        model.model.lm_head.weight.mul_(3)
    assert model.logits([""], [""], [(0,)]) == [(0.0,)]
    model.separator = ""
    # The first token's probability depends on nothing that the model reads.
    (row,) = model.logits([""], ["1+1"], [(1, 2, 3)])
    assert row[0] == 0
    assert len(set(row)) == 3
    (alone,) = model.logits([""], ["1+"], [(2,)])
    assert alone[0] == pytest.approx(row[1], rel=1e-5)


def test_the_reference_is_fixed(tmp_path: Path) -> None:
    model = ImplicitRewardModel.from_policy(policy(tmp_path))
    train(model, additions(40, 1), settings=TrainingSettings())
    assert not model.reference.training
    assert not any(each.requires_grad for each in model.reference.parameters())
    assert all(each.requires_grad for each in model.model.parameters())


def test_logits_are_summed_in_full_precision(tmp_path: Path) -> None:
    ImplicitRewardModel.from_policy(policy(tmp_path / "policy")).save(tmp_path / "rm")
    model = ImplicitRewardModel.load(tmp_path / "rm", dtype="bfloat16")
    assert (model.model.dtype, model.reference.dtype) == (torch.bfloat16, torch.bfloat16)
    with torch.no_grad():
        assert model.read(model.model, model.encode(*ASK)).dtype == torch.float32


def test_model_and_reference_are_loaded_onto_the_device_asked_for(tmp_path: Path) -> None:
    ImplicitRewardModel.from_policy(policy(tmp_path / "policy")).save(tmp_path / "rm")
    model = ImplicitRewardModel.load(tmp_path / "rm", device="meta")
    assert (model.model.device.type, model.reference.device.type) == ("meta", "meta")


def test_a_tokenizer_without_a_pad_token_will_do(tmp_path: Path) -> None:
    model = ImplicitRewardModel.from_policy(policy(tmp_path))
    tokenizer = words()
    tokenizer.pad_token = None
    bare = ImplicitRewardModel(model.model, model.reference, tokenizer)
    assert bare.score(*ASK) == [(0.5, 0.5), (0.5,)]
    assert (bare.beta, model.beta) == (0.05, 0.05)


def test_settings_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    policy(tmp_path)
    for beta in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="must be above 0"):
            ImplicitRewardModel.from_policy(tmp_path, beta=beta)
    byte_bpe(merges=30).save_pretrained(tmp_path)
    with pytest.raises(UnfitTokenizer, match="do not belong together"):
        ImplicitRewardModel.from_policy(tmp_path)


def test_outcome_labels_teach_and_the_reference_stays(tmp_path: Path) -> None:
    model = ImplicitRewardModel.from_policy(policy(tmp_path), beta=0.5)
    before = model.reference.lm_head.weight.clone()
    settings = TrainingSettings(learning_rate=3e-3, epochs=6)
    train(model, additions(1200, 1), settings=settings)
    unseen = additions(100, 2)
    scores = model.score(
        [row.question for row in unseen], [row.text for row in unseen], [row.ends for row in unseen]
    )
    hits = sum((s[-1] > 0.5) == row.positive for s, row in zip(scores, unseen, strict=True))
    assert hits >= 90
    assert torch.equal(model.reference.lm_head.weight, before)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    model = ImplicitRewardModel.from_policy(policy(tmp_path / "policy"), beta=0.3, separator="\n\n")
    with torch.no_grad():
        model.model.lm_head.weight.mul_(2)
    model.save(tmp_path / "rm")
    again = ImplicitRewardModel.load(tmp_path / "rm")
    assert again.logits(*ASK) == model.logits(*ASK)
    assert (again.beta, again.separator) == (0.3, "\n\n")
    AutoModelForCausalLM.from_pretrained(tmp_path / "rm")
    byte_bpe().save_pretrained(tmp_path / "rm")
    with pytest.raises(UnfitTokenizer, match="not the one that the model was trained with"):
        ImplicitRewardModel.load(tmp_path / "rm")
    with pytest.raises(ValueError, match="not an implicit model"):
        ImplicitRewardModel.load(tmp_path / "policy")
    record = tmp_path / "rm" / "implicit_reward.json"
    record.write_text(record.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(ValueError, match=r"implicit_reward\.json: written in format 2"):
        ImplicitRewardModel.load(tmp_path / "rm")
    record.write_text("{")
    with pytest.raises(ValueError, match="not an implicit model"):
        ImplicitRewardModel.load(tmp_path / "rm")


def test_it_is_a_reward_source(tmp_path: Path) -> None:
    source = model_source.Source(
        ImplicitRewardModel.from_policy(policy(tmp_path)), lines.Splitter()
    )
    assert source.score([PROBLEM], [completion("1\n1")])[0].values == (0.5, 0.5)


def test_text_beyond_the_context_is_refused(tmp_path: Path) -> None:
    model = ImplicitRewardModel.from_policy(policy(tmp_path))
    long = dataclasses.replace(additions(1, 1)[0], text="1" * 200, ends=(200,))
    with pytest.raises(ValueError, match="reads 128"):
        model.score([long.question], [long.text], [long.ends])
