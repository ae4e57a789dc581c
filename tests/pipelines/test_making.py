from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.datasets import arithmetic, load
from pipelines.making import ModelShape, UnfitShape, make_policy, make_tokenizer

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


def test_words_are_numbered_by_the_alphabet_behind_the_special_tokens() -> None:
    made = make_tokenizer("words", ["b__2 c", "a"], 9)
    assert made.convert_ids_to_tokens(range(len(made))) == [
        *("<pad>", "<eos>", "<bos>", "<unk>"),
        *(" c", "2", "_", "a", "b"),
    ]
    with pytest.raises(UnfitShape, match="5 different words and 4 special tokens"):
        make_tokenizer("words", ["b_2 c", "a"], 8)


def test_what_no_text_had_is_unknown() -> None:
    assert WORDS.unk_token_id not in (None, WORDS.pad_token_id)
    strange = WORDS("zebra")["input_ids"]
    assert set(strange) == {WORDS.unk_token_id}


@pytest.mark.parametrize("kind", ["bpe", "words"])
def test_spaces_before_marks_stay(kind: str) -> None:
    text = "1 , 2 . It is n't"
    made = make_tokenizer(kind, [text], 400)
    assert made.decode(made(text)["input_ids"]) == text


@pytest.mark.parametrize("tokenizer", [BPE, WORDS])
def test_prompts_of_several_lengths_are_padded_on_the_left(tokenizer: AutoTokenizer) -> None:
    short, long = tokenizer(["18", "18+5=23"], padding=True)["input_ids"]
    assert short[:-2] == [tokenizer.pad_token_id] * (len(long) - 2)
    assert tokenizer.pad_token_id not in short[-2:]


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
    with pytest.raises(UnfitShape, match="vocab_size is 259; a bpe tokenizer needs at least 260"):
        make_tokenizer("bpe", TEXTS, 259)


def test_a_bpe_vocabulary_has_the_size_that_is_asked_for() -> None:
    assert [len(make_tokenizer("bpe", TEXTS, size)) for size in (260, 270)] == [260, 270]


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
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        expected = getattr(tokenizer, name)
        assert getattr(other.config, name) == expected
        assert getattr(other.generation_config, name) == expected  # which generate() reads


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
    with pytest.raises(UnfitShape, match="width 12 over 4 heads must give an even number"):
        ModelShape(width=12)
    for name in ("width", "layers", "heads", "context"):
        with pytest.raises(UnfitShape, match=f"{name} is 0, must be at least 1"):
            ModelShape(**{name: 0})
    ModelShape(width=2, layers=1, heads=1, context=1)


@pytest.mark.parametrize(("context", "base"), [(48, 100.0), (100, 100.0), (512, 512.0)])
def test_a_policy_has_its_shape(context: int, base: float) -> None:
    made = make_policy(WORDS, ModelShape(width=64, layers=2, heads=8, context=context), seed=0)
    config = made.config
    assert (config.hidden_size, config.intermediate_size) == (64, 192)
    assert (config.num_attention_heads, config.num_key_value_heads) == (8, 8)
    assert (config.num_hidden_layers, config.max_position_embeddings) == (2, context)
    assert config.rope_parameters["rope_theta"] == base
    # Narrow models begin with larger weights than the usual 0.02.
    assert made.model.layers[0].mlp.up_proj.weight.std().item() == pytest.approx(0.0625, rel=0.05)
