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
    model = ImplicitRewardModel.from_policy(policy(tmp_path / "policy"), beta=0.3)
    with torch.no_grad():
        model.model.lm_head.weight.mul_(2)
    model.save(tmp_path / "rm")
    assert ImplicitRewardModel.load(tmp_path / "rm").logits(*ASK) == model.logits(*ASK)
    AutoModelForCausalLM.from_pretrained(tmp_path / "rm")
    byte_bpe().save_pretrained(tmp_path / "rm")
    with pytest.raises(UnfitTokenizer, match="not the one that the model was trained with"):
        ImplicitRewardModel.load(tmp_path / "rm")
    with pytest.raises(ValueError, match="not an implicit model"):
        ImplicitRewardModel.load(tmp_path / "policy")


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
