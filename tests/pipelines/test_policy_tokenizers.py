"""What a policy's tokenizer must have: an end, and a pad token that somebody chose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils import parameters_to_vector
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from iterative_grpo.engines import generate
from iterative_grpo.rollouts import Rollout
from iterative_grpo.types import Finish
from pipelines import cli, policies
from pipelines.config import PolicySettings
from pipelines.policies import PolicyError
from tests.iterative_grpo.test_trainer import make
from tests.pipelines import toy

Maker = Callable[[int, torch.dtype], Path]
END = "<|endoftext|>"
SIZES = {"vocab_size": 259, "eos_token_id": 0, "bos_token_id": 0}
LLAMA = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
LLAMA |= {"num_attention_heads": 1, "num_key_value_heads": 1}


def published(folder: Path, model: Any, **told: Any) -> Path:
    """Write a checkpoint with a tokenizer over bytes, whose other file tells its special tokens."""
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        special_tokens=[END, "<|pad|>", "<unk>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def gpt2(folder: Path) -> Path:
    """Write a checkpoint whose unknown token is BOS and EOS, too, and that names no pad token."""
    config = GPT2Config(n_embd=8, n_layer=1, n_head=1, n_positions=256, **SIZES)
    return published(folder, GPT2LMHeadModel(config))


def qwen2(folder: Path) -> Path:
    """Write a checkpoint without an unknown token and a pad token."""
    told = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": END}
    model = Qwen2ForCausalLM(Qwen2Config(**SIZES, **LLAMA))
    return published(folder, model, **told, pad_token=None, unk_token=None)


def llama(folder: Path) -> Path:
    """Write a checkpoint whose unknown token is a token of its own, and that names no pad token."""
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "unk_token": "<unk>"}
    return published(folder, LlamaForCausalLM(LlamaConfig(**SIZES, **LLAMA)), **told)


KINDS = pytest.mark.parametrize("write", [gpt2, qwen2, llama])


@KINDS
def test_a_pad_token_is_the_users_to_choose(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "model")
    with pytest.raises(PolicyError, match="has no pad token; name one of its tokens") as told:
        policies.load(folder, PolicySettings())
    assert repr(END) in str(told.value)  # which is what the next line takes
    for pad in (END, "<|pad|>"):
        model, tokenizer = policies.load(folder, PolicySettings(pad_token=pad))
        assert tokenizer.decode([tokenizer.pad_token_id]) == pad
        policies.save(model, tokenizer, tmp_path / "saved")
        assert policies.load(tmp_path / "saved", PolicySettings())[1].pad_token == pad


@KINDS
def test_a_pad_token_that_is_no_token_is_told(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = write(tmp_path / "model")
    with pytest.raises(PolicyError, match=r"'<zz>' is no token of this tokenizer, .*model\. Exp"):
        policies.load_tokenizer(folder, PolicySettings(pad_token="<zz>"))
    with pytest.raises(PolicyError, match=r"Did you mean <\|pad\|>\? .* as EOS '<\|endof"):
        policies.load_tokenizer(folder, PolicySettings(pad_token="<pad>"))


@KINDS
def test_a_token_of_texts_is_no_padding(write: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = write(tmp_path / "model")
    tokenizer = policies.load_tokenizer(folder, PolicySettings(pad_token=END))
    tokenizer.pad_token = "1"
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = policies.load_tokenizer(tmp_path / "saved", PolicySettings())
    assert saved.decode(saved("1+2")["input_ids"], skip_special_tokens=True) == "+2"
    with pytest.raises(PolicyError, match=r"'1' is a word of this tokenizer, .* Expected one of"):
        policies.load_tokenizer(folder, PolicySettings(pad_token="1"))


@pytest.mark.parametrize("write", [gpt2, llama])
def test_a_model_without_a_tokenizer_is_told(
    write: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "model")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    told = f"{folder} cannot be loaded: no tokenizer in this folder (no tokenizer.json"
    with pytest.raises(PolicyError) as caught:
        policies.load(folder, PolicySettings())
    assert str(caught.value).startswith(f"policy.model {told}")
    with pytest.raises(PolicyError, match=r"its tokenizer cannot be loaded: no tokenizer in this"):
        policies.load_tokenizer(folder, PolicySettings())
    data = str(toy.write_data(tmp_path / "data"))
    assert cli.main(["evaluate", str(folder), "--data", data, "--pad-token", END]) == cli.REFUSED
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("engine", [None, generate.load], ids=["trl", "engine"])
def test_outputs_end_and_train_alike_whatever_is_padding(engine: Any, tmp_path: Path) -> None:
    """What is padding is known by its place: EOS as padding is cut from no output."""
    folder = gpt2(tmp_path / "model")
    trained, sampled = [], []
    for pad in (END, "<|pad|>"):
        saved = tmp_path / pad.strip("<|>")
        policies.save(*policies.load(folder, PolicySettings(pad_token=pad)), saved)
        rollouts: list[tuple[int, list[Rollout]]] = []
        trainer = make(saved, tmp_path, rollouts=rollouts, engine=engine, max_completion_length=120)
        trainer.train()
        trained.append(parameters_to_vector(trainer.model.parameters()))
        sampled.append(rollouts)
    assert sampled[0] == sampled[1]
    assert {row.finish for _, rows in sampled[0] for row in rows} == set(Finish)
    assert torch.equal(*trained)
    before = parameters_to_vector(policies.load(saved, PolicySettings())[0].parameters())
    assert not torch.equal(trained[0], before)


def test_a_tokenizer_that_pads_with_its_unknown_token_is_given_another(tiny_policy: Maker) -> None:
    folder = tiny_policy()
    _, tokenizer = policies.load(folder, PolicySettings())
    tokenizer.unk_token = tokenizer.pad_token
    tokenizer.save_pretrained(folder)
    with pytest.raises(PolicyError, match=r"pads with its unknown token .* policy\.pad_token"):
        policies.load(folder, PolicySettings())
    unknown, eos = tokenizer.unk_token, tokenizer.eos_token
    for chosen in (eos, unknown):
        _, tokenizer = policies.load(folder, PolicySettings(pad_token=chosen))
        assert tokenizer.pad_token == chosen


def test_a_tokenizer_alone_is_checked_too(tiny_policy: Maker) -> None:
    folder = tiny_policy(0, torch.float32)
    tokenizer = policies.load_tokenizer(folder, PolicySettings())
    tokenizer.pad_token = None
    for unknown in (None, "a"):
        tokenizer.unk_token = unknown
        tokenizer.save_pretrained(folder)
        with pytest.raises(PolicyError, match=r"has no pad token; .* policy\.pad_token"):
            policies.load_tokenizer(folder, PolicySettings())
    named = policies.load_tokenizer(folder, PolicySettings(pad_token="<eos>"))
    assert named.pad_token_id == named.eos_token_id
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(PolicyError, match="has no EOS token"):
        policies.load_tokenizer(folder, PolicySettings())
