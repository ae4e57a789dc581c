"""Step ends onto sampled tokens, for the tokenizer families in use, built on the spot."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from iterative_grpo.splitters.lines import Splitter
from iterative_grpo.steps import TokenSteps
from iterative_grpo.types import Completion, Finish

CORPUS = [
    "Ann has 18 coins. Ann wins 5.\n18+5=23\n#### 23",
    "naïve café: 7×8=56 ✓\n\nSo the answer is 56.",
    "数学 is 難しい\nx² + y² = z²",
] * 20
SPECIAL = ["<pad>", "<eos>", "<unk>"]


def _wrap(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def byte_level() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet),
    )
    return _wrap(backend)


def sentencepiece_bpe() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=420, special_tokens=[*SPECIAL, *bytes_])
    )
    # The trainer knows tokens of its own as special ones alone, and those are no part of a text.
    state = json.loads(backend.to_str())
    state["added_tokens"] = [it for it in state["added_tokens"] if it["content"] in SPECIAL]
    return _wrap(Tokenizer.from_str(json.dumps(state)))


def unigram() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>")
    )
    return _wrap(backend)


def characters() -> PreTrainedTokenizerFast:
    alphabet = sorted(set("".join(CORPUS)))
    backend = Tokenizer(
        models.WordLevel({t: i for i, t in enumerate([*SPECIAL, *alphabet])}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    return _wrap(backend)


MAKERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level": byte_level,
    "sentencepiece": sentencepiece_bpe,
    "unigram": unigram,
    "characters": characters,
}
TOKENIZERS = {name: make() for name, make in MAKERS.items()}


def steps_of_tokens(
    tokenizer: PreTrainedTokenizerFast, ids: list[int], text: str, ends: tuple[int, ...]
) -> list[int]:
    """Return the step of each token."""
    counts = TokenSteps(tokenizer).tokens_of_steps(ids, text, ends)
    assert len(counts) == len(ends)
    return [step for step, count in enumerate(counts) for _ in range(count)]


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=150)
@given(data=st.data())
def test_every_token_has_one_step_and_ends_are_where_the_text_says(
    name: str, data: st.DataObject
) -> None:
    tokenizer = TOKENIZERS[name]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=48))
    if data.draw(st.booleans()):
        ids.append(tokenizer.eos_token_id)
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    ends = Splitter().split(text)
    steps = steps_of_tokens(tokenizer, ids, text, ends)
    assert len(steps) == len(ids)
    assert steps == sorted(steps)
    assert steps[-1] == len(ends) - 1
    # The oracle: decode every prefix. A prefix that has not reached an end lies before it.
    for count in range(1, len(ids)):
        before = str(tokenizer.decode(ids[:count], skip_special_tokens=True))
        if text.startswith(before) and count < len(ids) - 1:
            closed = sum(end <= len(before) for end in ends)
            assert steps[count] == min(closed, len(ends) - 1)


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=60)
@given(lines=st.lists(st.sampled_from(CORPUS[:3]), min_size=1, max_size=3), data=st.data())
def test_the_fragment_of_a_truncated_output_is_a_step_of_its_own(
    name: str, lines: list[str], data: st.DataObject
) -> None:
    tokenizer = TOKENIZERS[name]
    whole = tokenizer("\n".join(lines))["input_ids"]
    # The token limit cuts anywhere, inside words and inside characters, and leaves no EOS.
    ids = whole[: data.draw(st.integers(1, len(whole)))]
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    ends = Splitter().split(text)
    steps = steps_of_tokens(tokenizer, ids, text, ends)
    assert steps[-1] == len(ends) - 1
    if len(ends) == 1:
        assert set(steps) == {0}
        return
    closed = ends[-2]
    assert "\n" not in text[closed:].strip()
    first = steps.index(len(ends) - 1)
    before = str(tokenizer.decode(ids[:first], skip_special_tokens=True))
    if first < len(ids) - 1 and text.startswith(before):
        # The tokens before the fragment reach the end of the step that was closed, just so.
        assert len(before) >= closed
        shorter = str(tokenizer.decode(ids[: first - 1], skip_special_tokens=True))
        assert not text.startswith(shorter) or len(shorter) < closed


def test_long_texts_move_the_decoding_window() -> None:
    tokenizer = TOKENIZERS["byte-level"]
    text = "数学 is 難しい ✓\n" * 60
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    ends = Splitter().split(text)
    steps = steps_of_tokens(tokenizer, ids, text, ends)
    for step in range(60):
        of_step = [t for t, s in zip(ids, steps, strict=True) if s == step]
        assert tokenizer.decode(of_step, skip_special_tokens=True) == "数学 is 難しい ✓\n"


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("first", ["", "▁"])
def test_a_character_is_of_the_token_that_completes_it(name: str, first: str) -> None:
    tokenizer = TOKENIZERS[name]
    # Characters of several tokens, and where there is such a token, a blank that nothing shows of.
    ids = [*tokenizer("Ann 数学 ♞。 naïve ö5✓\n" * 5)["input_ids"], tokenizer.eos_token_id]
    if first in tokenizer.get_vocab():
        ids.insert(0, tokenizer.convert_tokens_to_ids(first))
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    counts = TokenSteps(tokenizer).tokens_of_steps(ids, text, range(1, len(text) + 1))
    shown = [
        len(str(tokenizer.decode(ids[:count], skip_special_tokens=True)).rstrip("�"))
        for count in range(1, len(ids) + 1)
    ]
    for end, taken in enumerate(itertools.accumulate(counts), start=1):
        completing = next(count for count, length in enumerate(shown, start=1) if length >= end)
        assert taken == (len(ids) if end == len(text) else completing)


def test_nothing_is_spread_behind_the_last_token() -> None:
    tokenizer = TOKENIZERS["characters"]
    ids = (*tokenizer("1\n8")["input_ids"], tokenizer.eos_token_id)
    completion = Completion("p", 0, "1\n8", ids, Finish.STOP)
    spread = TokenSteps(tokenizer).spread(completion, (2, 3), (0.5, -0.1), 6)
    assert spread.dtype == np.float32
    assert spread.tolist() == np.float32([0.5, 0.5, -0.1, -0.1, 0, 0]).tolist()


def test_eos_belongs_to_the_last_step_and_an_empty_output_is_its_eos() -> None:
    tokenizer = TOKENIZERS["characters"]
    eos = tokenizer.eos_token_id
    assert steps_of_tokens(tokenizer, [eos], "", (0,)) == [0]
    ids = tokenizer("1\n8")["input_ids"]
    assert steps_of_tokens(tokenizer, [*ids, eos], "1\n8", (2, 3)) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("ids", "text", "ends", "message"),
    [
        ([3], "a", (2,), "closes the last step at the end"),
        ([], "", (0,), "at least one sampled token"),
        ([3, 4], "ab", (2, 1), "strictly increasing"),
        ([3], "a", (), "at least one step end"),
    ],
)
def test_refuses_what_is_no_cut(
    ids: list[int], text: str, ends: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TokenSteps(TOKENIZERS["characters"]).tokens_of_steps(ids, text, ends)
