"""Where the head is read: the token that covers each end's last character."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from reward_models import encoding
from reward_models.encoding import (
    UnfitTokenizer,
    UnreadableSolution,
    check_tokenizer,
    encode,
    fingerprint,
)
from tests.reward_models.making import byte_bpe, words

BPE = byte_bpe()
WORDS = words()


def decoded(tokenizer: PreTrainedTokenizerFast, ids: tuple[int, ...]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False))


def test_marks_are_the_tokens_that_cover_the_last_characters() -> None:
    text = "18+5=23\n#### 23"
    (row,) = encode(BPE, ["How many?"], [text], [(8, 15)], separator="\n", context=99)
    question = tuple(BPE("How many?\n")["input_ids"])
    assert row.token_ids[: len(question)] == question
    assert row.question == len(question)
    for end, mark in zip((8, 15), row.marks, strict=True):
        # By decoding, which knows nothing of offsets: the end lies inside the marked token.
        assert len(decoded(BPE, row.token_ids[len(question) : mark])) < end
        assert len(decoded(BPE, row.token_ids[len(question) : mark + 1])) >= end


def test_more_rows_than_one_call_takes_are_encoded_as_each_alone() -> None:
    count = encoding.ROWS_AT_ONCE + 5
    questions = [f"How many of {row % 7}?" for row in range(count)]
    texts = [f"{row}+5={row + 5}\n#### {row + 5}" for row in range(count)]
    cuts = [(text.index("\n") + 1, len(text)) for text in texts]
    together = encode(BPE, questions, texts, cuts, separator="\n", context=99)
    for row in (0, 1, count - 6, count - 5, count - 1):
        chosen = slice(row, row + 1)
        alone = encode(
            BPE, questions[chosen], texts[chosen], cuts[chosen], separator="\n", context=99
        )
        assert together[chosen] == alone
    with pytest.raises(UnreadableSolution, match=f"row {count - 1} "):
        encode(BPE, questions, [*texts[:-1], "7" * 99], [*cuts[:-1], (99,)],
               separator="\n", context=99)  # fmt: skip


def test_texts_that_come_again_are_rows_of_their_own() -> None:
    """Equal texts are tokenised once, whatever they answer and however they are cut."""
    questions = ["How many?", "How many?", "How few?", "How many?"]
    texts, cuts = ["18+5=23\n#### 23"] * 4, [(8, 15), (15,), (8, 15), (8, 15)]
    together = encode(BPE, questions, texts, cuts, separator="\n", context=99)
    alone = [
        encode(BPE, [question], [text], [cut], separator="\n", context=99)[0]
        for question, text, cut in zip(questions, texts, cuts, strict=True)
    ]
    assert together == alone
    assert len(set(together)) == 3


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=30), st.data())
def test_byte_level_marks_complete_each_step(text: str, data: st.DataObject) -> None:
    text = text.replace("<pad>", "").replace("<eos>", "") or "a"
    if not text.isprintable():
        text = "héé→😀 a\n" + "x" * len(text)
    cuts = data.draw(st.sets(st.integers(1, len(text)), max_size=4))
    ends = tuple(sorted(cuts | {len(text)}))
    (row,) = encode(BPE, ["q"], [text], [ends], separator="\n", context=999)
    begin = len(BPE("q\n")["input_ids"])
    assert row.marks[-1] == len(row.token_ids) - 1
    assert list(row.marks) == sorted(row.marks)
    for end, mark in zip(ends, row.marks, strict=True):
        shown = BPE.backend_tokenizer.decode(list(row.token_ids[begin : mark + 1]))
        assert shown[:end] == text[:end]
        before = BPE.backend_tokenizer.decode(list(row.token_ids[begin:mark]))
        assert before[:end] != text[:end]


def test_the_border_never_merges() -> None:
    # "is" + "18": one text would cut "\n" and digits otherwise in some vocabularies.
    for question in ("How many", "How many?", ""):
        (row,) = encode(BPE, [question], ["many?"], [(5,)], separator="", context=99)
        assert row.token_ids[-len(BPE("many?")["input_ids"]) :] == tuple(BPE("many?")["input_ids"])


def test_empty_text_is_read_at_the_last_question_token() -> None:
    (row,) = encode(WORDS, ["How many?"], [""], [(0,)], separator="\n", context=99)
    assert row.marks == (len(WORDS("How many?\n")["input_ids"]) - 1,)


def test_empty_text_without_a_question_token_is_refused() -> None:
    with pytest.raises(UnreadableSolution, match="question's last token"):
        encode(BPE, [""], [""], [(0,)], separator="", context=99)


def test_spaces_that_the_tokenizer_drops_are_read_before() -> None:
    # WORDS removes spaces: the second "step" is white space alone.
    (row,) = encode(WORDS, ["How many?"], ["18   "], [(2, 5)], separator="\n", context=99)
    assert row.marks[0] == row.marks[1] == len(row.token_ids) - 1


def test_a_step_that_no_token_reaches_is_refused() -> None:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace("@", "")
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    blind = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    with pytest.raises(UnreadableSolution, match=r"row 1: no token reaches the step '@@'"):
        encode(blind, ["a", "a"], ["a b", "a @@ b"], [(1, 3), (2, 4, 6)], separator="", context=99)
    # Nor does one that ends where the step begins.
    with pytest.raises(UnreadableSolution, match=r"row 0: no token reaches the step '@@'"):
        encode(blind, ["a"], ["a@@ b"], [(1, 3, 5)], separator="", context=99)


def test_control_characters_that_the_tokenizer_drops_are_read_before() -> None:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace("\x00", "")
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    blind = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    (row,) = encode(blind, ["a"], ["a\x00 b"], [(1, 2, 4)], separator="", context=99)
    assert row.marks == (1, 1, 2)


def test_special_tokens_are_the_questions_alone() -> None:
    opening = byte_bpe()
    opening.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<eos> $A", special_tokens=[("<eos>", 1)]
    )
    (row,) = encode(opening, ["How many?"], ["1+1"], [(3,)], separator="\n", context=99)
    (plain,) = encode(BPE, ["How many?"], ["1+1"], [(3,)], separator="\n", context=99)
    assert row.token_ids == (1, *plain.token_ids)
    assert (row.question, row.marks) == (plain.question + 1, (plain.marks[0] + 1,))


def test_a_text_may_fill_the_context() -> None:
    (row,) = encode(WORDS, ["How many?"], ["1+1"], [(3,)], separator="\n", context=99)
    size = len(row.token_ids)
    assert encode(WORDS, ["How many?"], ["1+1"], [(3,)], separator="\n", context=size) == [row]
    with pytest.raises(UnreadableSolution, match=f"reads {size - 1};"):
        encode(WORDS, ["How many?"], ["1+1"], [(3,)], separator="\n", context=size - 1)


def test_text_beyond_the_context_is_refused_not_cut() -> None:
    with pytest.raises(UnreadableSolution, match=r"row 1 has .* reads 12"):
        encode(
            WORDS,
            ["How many?"] * 2,
            ["1", "1+1=2\n" * 9],
            [(1,), (54,)],
            separator="\n",
            context=12,
        )


def test_ends_beyond_the_text_are_refused() -> None:
    with pytest.raises(ValueError, match="row 0: an end at 4 lies beyond the text of 3 characters"):
        encode(WORDS, ["How many?"], ["1+1"], [(4,)], separator="\n", context=99)


@pytest.mark.parametrize("cut", [(), (2, 1), (-1, 3), (1, 1)])
def test_what_is_no_cut_is_refused(cut: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"row 0: .*step end"):
        encode(WORDS, ["How many?"], ["1+1"], [cut], separator="\n", context=99)


def test_unequal_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="2 questions, 1 texts and 1 lists of ends"):
        encode(WORDS, ["a", "b"], ["1"], [(1,)], separator="\n", context=99)
    with pytest.raises(ValueError, match="1 questions, 1 texts and 2 lists of ends"):
        encode(WORDS, ["a"], ["1"], [(1,), (1,)], separator="\n", context=99)


def test_tokenizers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UnfitTokenizer, match="the model 5 embeddings"):
        check_tokenizer(WORDS, 5)
    check_tokenizer(WORDS, len(WORDS))
    with pytest.raises(UnfitTokenizer, match="do not belong together"):
        check_tokenizer(WORDS, len(WORDS) - 1)

    from transformers import CanineTokenizer

    with pytest.raises(UnfitTokenizer, match="no character offsets"):
        check_tokenizer(CanineTokenizer(), 10**9)


def test_fingerprint_tells_tokenizers_apart() -> None:
    assert fingerprint(words()) == fingerprint(WORDS)
    assert fingerprint(WORDS) != fingerprint(BPE)
    renamed = words()
    renamed.add_tokens(["new"])
    assert fingerprint(renamed) != fingerprint(WORDS)


def test_fingerprint_is_of_names_places_and_cuts() -> None:
    def of(vocabulary: dict[str, int], pieces: str = "removed") -> str:
        backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Split(" ", pieces)
        return fingerprint(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))

    known = of({"<unk>": 0, "x": 1, "y": 2})
    assert known == of({"y": 2, "x": 1, "<unk>": 0})
    # No probe text shows these.
    assert known != of({"<unk>": 0, "y": 1, "x": 2})
    assert known != of({"<unk>": 0, "x": 1, "z": 2})
    assert known != of({"<unk>": 0, "x": 1, "y": 2}, "isolated")
