"""Tokenizers begin texts with BOS where their files ask for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    ByT5Tokenizer,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    Qwen2Config,
)

from iterative_grpo import tokenizing
from iterative_grpo.tokenizing import NoTokenizer
from iterative_grpo.types import Problem
from pipelines.prompts import make_prompts
from reward_models.encoding import encode

BOS, EOS = "<bos>", "<eos>"


def deepseek(folder: Path, *, template: bool = False, **changes: Any) -> Path:
    """Write a tokenizer in the form of DeepSeekMath's: over bytes, its BOS in the other file."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[BOS, EOS], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(["User: 1+2=3 Assistant:"], trainer)
    if template:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
        )
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "LlamaTokenizerFast",
        "add_bos_token": True,
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": EOS,
        **changes,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    LlamaConfig(vocab_size=300).save_pretrained(folder)
    return folder


def first(tokenizer: Any) -> int:
    return int(tokenizer("User: 1")["input_ids"][0])


def test_bos_is_added_where_the_files_ask_for_it(tmp_path: Path) -> None:
    folder = deepseek(tmp_path / "deepseek")
    assert first(AutoTokenizer.from_pretrained(folder)) != 0  # as transformers reads it
    tokenizer = tokenizing.load(folder, padding_side="left")
    assert tokenizer.padding_side == "left"
    assert tokenizer.bos_token_id == 0
    problem = Problem(id="a", question="1+2?", answer="3", dataset="x")
    (prompt,) = make_prompts([problem], tokenizer, "deepseek_math_cot")
    assert prompt.token_ids[0] == 0
    assert 0 not in prompt.token_ids[1:]
    (row,) = encode(tokenizer, ["1+2?"], ["1+2=3"], [(5,)], separator="\n", context=100)
    assert row.token_ids[0] == 0
    assert 0 not in row.token_ids[1:]
    tokenizer.save_pretrained(tmp_path / "copy")
    for again in (
        tokenizing.load(tmp_path / "copy"),
        AutoTokenizer.from_pretrained(tmp_path / "copy"),
    ):
        assert again("1+2")["input_ids"] == tokenizer("1+2")["input_ids"]


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({"template": True}, True),
        ({"template": True, "add_bos_token": False}, True),
        ({"add_bos_token": False}, False),
        ({"add_bos_token": None}, False),
        ({"bos_token": None}, False),
    ],
)
def test_files_that_ask_for_none_or_have_a_template_are_left_as_they_are(
    changes: dict[str, Any], begins: bool, tmp_path: Path
) -> None:
    folder = deepseek(tmp_path / "other", **changes)
    ids = tokenizing.load(folder)("User: 1")["input_ids"]
    assert ids == AutoTokenizer.from_pretrained(folder)("User: 1")["input_ids"]
    assert ids.count(0) == begins


@pytest.mark.parametrize("config", [GPT2Config, GemmaConfig, LlamaConfig, Qwen2Config])
@pytest.mark.parametrize("told", [True, False], ids=["told", "bare"])
def test_a_folder_without_a_tokenizer_has_none(config: Any, told: bool, tmp_path: Path) -> None:
    config().save_pretrained(tmp_path)
    if told:
        text = '{"eos_token": "</s>"}'
        (tmp_path / "tokenizer_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(NoTokenizer, match=f"^{tmp_path}: no tokenizer in this folder"):
        tokenizing.load(tmp_path)


def test_a_tokenizer_over_bytes_needs_no_files_of_tokens(tmp_path: Path) -> None:
    ByT5Tokenizer().save_pretrained(tmp_path)
    assert not list(tmp_path.glob("tokenizer.*"))
    assert tokenizing.load(tmp_path)("1")["input_ids"] == [52, 1]


def test_a_damaged_or_absent_tokenizer_is_told_as_transformers_tells_it(tmp_path: Path) -> None:
    folder = deepseek(tmp_path / "damaged")
    (folder / "tokenizer_config.json").write_text("{", encoding="utf-8")
    for name in (folder, tmp_path / "absent"):
        with pytest.raises((OSError, ValueError)) as caught:
            tokenizing.load(name)
        assert not isinstance(caught.value, NoTokenizer)
