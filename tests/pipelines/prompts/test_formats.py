import copy

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from iterative_grpo.plugins import BrokenPlugin, UnknownName
from iterative_grpo.types import Problem
from pipelines.making import make_tokenizer
from pipelines.prompts import (
    PromptTooLong,
    Unrenderable,
    make_prompts,
    plain,
    stop_strings,
    unknown_words,
)

TEXT = "Ann has 2 pens. How many?\nUser Assistant: Please reason step by step, and put your final"
PROBLEMS = [
    Problem("toy/test/0", "Ann has 2 pens. How many?", "2", "toy"),
    Problem("toy/test/1", "How many?", "?", "toy"),
]


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer("bpe", [TEXT], 300)


def test_plain_is_the_question_and_a_new_line(tokenizer: PreTrainedTokenizerFast) -> None:
    prompts = make_prompts(PROBLEMS, tokenizer, "plain")
    assert [each.problem_id for each in prompts] == ["toy/test/0", "toy/test/1"]
    assert [tokenizer.decode(each.token_ids) for each in prompts] == [
        "Ann has 2 pens. How many?\n",
        "How many?\n",
    ]


def test_deepseek_math_asks_for_a_box(tokenizer: PreTrainedTokenizerFast) -> None:
    (prompt,) = make_prompts(PROBLEMS[1:], tokenizer, "deepseek-math-cot")
    assert tokenizer.decode(prompt.token_ids) == (
        "User: How many?\nPlease reason step by step, and put your final answer within \\boxed{}."
        "\n\nAssistant:"
    )


def beginning(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Let the tokenizer put BOS in front of every text, as those of Llama do."""
    known = [("<bos>", tokenizer.bos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<bos> $A", None, known)
    return tokenizer


@pytest.mark.parametrize("name", ["plain", "deepseek_math_cot", "gsm8k_8shot", "minerva_4shot"])
def test_texts_begin_as_the_tokenizer_begins_them(
    name: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    (prompt,) = make_prompts(PROBLEMS[1:], beginning(tokenizer), name)
    assert prompt.token_ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in prompt.token_ids[1:]


@pytest.mark.parametrize("name", ["chat", "gsm8k_8shot_chat", "minerva_4shot_chat"])
def test_chat_uses_the_template_and_adds_no_second_bos(
    name: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    tokenizer.chat_template = (
        "<bos>{% for turn in messages %}[{{ turn.role }}] {{ turn.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    (prompt,) = make_prompts(PROBLEMS[1:], beginning(tokenizer), name)
    assert prompt.token_ids[0] == tokenizer.bos_token_id
    assert tokenizer.bos_token_id not in prompt.token_ids[1:]
    if name == "chat":
        assert tokenizer.decode(prompt.token_ids) == (
            "<bos>[user] How many?\nPlease reason step by step, and put your final answer within "
            "\\boxed{}.\n[assistant] "
        )


def test_chat_without_a_template_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="has no chat template; choose an instruct model"):
        make_prompts(PROBLEMS, tokenizer, "chat")


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{% if %}"])
def test_a_template_that_fails_is_no_traceback(
    template: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    broken = copy.deepcopy(tokenizer)
    broken.chat_template = template
    with pytest.raises(Unrenderable, match=r"chat template of .* refuses 1 turns: "):
        make_prompts(PROBLEMS, broken, "chat")


def test_a_prompt_that_leaves_no_room_is_named(tokenizer: PreTrainedTokenizerFast) -> None:
    longest = max(len(each.token_ids) for each in make_prompts(PROBLEMS, tokenizer, "plain"))
    make_prompts(PROBLEMS, tokenizer, "plain", max_tokens=10, context=longest + 10)
    with pytest.raises(PromptTooLong, match=rf"toy/test/0: its prompt has {longest} tokens and"):
        make_prompts(PROBLEMS, tokenizer, "plain", max_tokens=11, context=longest + 10)


def test_unknown_formats_are_refused_with_the_known_ones(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    with pytest.raises(
        UnknownName, match=r"unknown prompt 'plane'. Did you mean 'plain'\? Known: "
    ):
        make_prompts(PROBLEMS, tokenizer, "plane")


def test_no_problems_make_no_prompts(tokenizer: PreTrainedTokenizerFast) -> None:
    assert make_prompts([], tokenizer, "plain") == []


def test_words_that_the_tokenizer_does_not_know_are_counted() -> None:
    words = make_tokenizer("words", [TEXT], 80)
    known = make_prompts(PROBLEMS, words, "plain")
    assert unknown_words(known, words) == []
    strange = Problem("toy/test/2", "Ann has gnus?", "?", "toy")
    (note,) = unknown_words(make_prompts([*PROBLEMS, strange], words, "plain"), words)
    assert note.startswith("1 of 3 prompts")


@pytest.mark.parametrize("stop", [("",), (1,), ["Q:"]])
def test_stop_strings_that_would_end_nothing_are_refused(
    stop: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "STOP", stop)
    with pytest.raises(BrokenPlugin, match="expected a tuple of strings"):
        stop_strings("plain")
