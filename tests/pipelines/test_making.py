from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.datasets import arithmetic, load
from pipelines.making import ModelShape, make_policy, make_tokenizer

TEXTS = [
    f"{problem.question}\n{arithmetic.demonstration(problem)}"
    for problem in load("arithmetic", "train", limit=500).problems
]
BPE = make_tokenizer("bpe", TEXTS, 400)
WORDS = make_tokenizer("words", TEXTS, 80)


def test_words_give_every_problem_and_solution_back() -> None:
    for split in ("train", "validation", "test"):
        for problem in load("arithmetic", split, limit=300, seed=9).problems:
            for text in (problem.question + "\n", arithmetic.demonstration(problem)):
                ids = WORDS(text)["input_ids"]
                assert WORDS.unk_token_id not in ids
                assert WORDS.decode(ids) == text


def test_words_write_numbers_in_digits() -> None:
    assert WORDS.convert_ids_to_tokens(WORDS("18+5=23\n#### 23")["input_ids"]) == [
        *"18+5=23",
        "\n",
        "#### ",
        *"23",
    ]


@given(st.text(max_size=60))
def test_bpe_gives_every_text_back(text: str) -> None:
    ids = BPE(text)["input_ids"]
    if not any(token in text for token in BPE.all_special_tokens):
        assert BPE.decode(ids) == text


def test_bpe_learns_words_and_keeps_digits_apart() -> None:
    tokens = BPE.convert_ids_to_tokens(BPE("How many? 1848")["input_ids"])
    assert 260 < len(BPE) <= 400
    assert tokens[-4:] == [*"1848"]
    assert len(tokens) < 10


@pytest.mark.parametrize("tokenizer", [BPE, WORDS])
def test_special_tokens_are_set_and_differ(tokenizer: AutoTokenizer) -> None:
    ids = [tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id]
    assert None not in ids
    assert len({*ids, tokenizer.unk_token_id}) == 4
    assert tokenizer("How many?")["input_ids"][-1] != tokenizer.eos_token_id


def test_vocabularies_that_cannot_be_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"different words and 4 special tokens .* is 20; raise it"
    ):
        make_tokenizer("words", TEXTS, 20)
    with pytest.raises(ValueError, match="vocab_size is 100; a bpe tokenizer needs at least 260"):
        make_tokenizer("bpe", TEXTS, 100)
    with pytest.raises(ValueError, match="unknown kind of tokenizer 'chars'; known: bpe, words"):
        make_tokenizer("chars", TEXTS, 100)


@pytest.mark.parametrize("tokenizer", [BPE, WORDS])
def test_a_saved_policy_loads_elsewhere(tokenizer: AutoTokenizer, tmp_path: Path) -> None:
    model = make_policy(tokenizer, ModelShape(width=32, layers=2, heads=2), seed=1)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    other = AutoModelForCausalLM.from_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    text = "Ann has 18 coins. How many?\n"
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    assert again(text)["input_ids"] == ids[0].tolist()
    assert again.decode(ids[0]) == text
    assert (again.pad_token_id, again.eos_token_id) == (
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
    )
    with torch.no_grad():
        assert torch.equal(other(ids).logits, model(ids).logits)
    assert other.generation_config.eos_token_id == tokenizer.eos_token_id
    assert other.generation_config.pad_token_id == tokenizer.pad_token_id
    assert other.config.eos_token_id == tokenizer.eos_token_id


def test_the_default_policy_is_small_tied_and_without_dropout() -> None:
    model = make_policy(WORDS, ModelShape(), seed=0)
    assert 0.36e6 < sum(each.numel() for each in model.parameters()) < 0.38e6
    assert model.lm_head.weight is model.model.embed_tokens.weight
    ids = torch.tensor([WORDS("Ann has 18 coins.")["input_ids"]])
    model.train()
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_the_seed_fixes_the_weights_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (make_policy(WORDS, ModelShape(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.lm_head.weight, same.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_shapes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="width 90 over 4 heads"):
        ModelShape(width=90)
    with pytest.raises(ValueError, match="layers is 0"):
        ModelShape(layers=0)
