"""A task's prompts as a policy will see them, and the room that is left for answers."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from iterative_grpo.types import Prompt
from pipelines import making
from pipelines.evaluation.rendering import MOST_TOKENS, render
from pipelines.evaluation.tasks import Task, load_task
from pipelines.prompts import PromptTooLong, unknown_words

BYTES = making.make_tokenizer("bpe", [""], 260)
LENGTHS = (50, 80, 60)
LONGEST = 80 + len("\n")


@pytest.fixture
def task(data: Path) -> Task:
    """Three questions of these lengths, each a token a character."""
    found = load_task("gsm8k", data, len(LENGTHS), 0)
    asked = zip(found.problems, LENGTHS, strict=True)
    return replace(
        found, problems=tuple(replace(it, question=f"{it.question:{n}}") for it, n in asked)
    )


def test_questions_are_rendered_in_their_order(task: Task) -> None:
    made = render(task, BYTES, 256, 20)
    assert [it.problem_id for it in made.prompts] == [it.id for it in task.problems]
    assert [len(it.token_ids) for it in made.prompts] == [51, LONGEST, 61]
    first = f"{task.problems[0].question}\n"
    assert made.first == first == BYTES.decode(made.prompts[0].token_ids)
    assert made.notes == ()
    assert made.as_row() == {
        "prompt": "plain",
        "first_prompt": first,
        "first_prompt_tokens": 51,
        "stop": [],
        "max_tokens": 20,
    }


def test_answers_have_the_room_behind_the_longest_prompt(task: Task) -> None:
    for room in (256, LONGEST + 1):
        made = render(task, BYTES, room, None)
        assert made.max_tokens == room - LONGEST
        assert made.notes == (
            f"answers have at most {room - LONGEST} tokens: the context is {room}, the longest "
            f"prompt has {LONGEST}",
        )
    with pytest.raises(PromptTooLong, match=f"more than the context of {LONGEST};"):
        render(task, BYTES, LONGEST, None)


@pytest.mark.parametrize("context", [MOST_TOKENS + LONGEST, 100_000, None])
def test_answers_have_the_papers_length_where_it_fits(task: Task, context: int | None) -> None:
    made = render(task, BYTES, context, None)
    assert (made.max_tokens, made.notes) == (1024, ())


def test_the_tokenizers_limit_counts_where_it_is_the_lower_one(task: Task) -> None:
    short = copy.deepcopy(BYTES)
    short.model_max_length = 200
    for context, room in ((None, 200), (300, 200), (150, 150)):
        assert render(task, short, context, None).max_tokens == room - LONGEST


def test_an_answer_that_is_asked_for_has_to_fit(task: Task) -> None:
    assert render(task, BYTES, LONGEST + 30, 30).max_tokens == 30
    with pytest.raises(PromptTooLong, match="the answer needs up to 31"):
        render(task, BYTES, LONGEST + 30, 31)


def test_examples_and_stop_strings_are_the_formats(task: Task, data: Path) -> None:
    made = render(replace(task, prompt="lm_eval_gsm8k", data=data), BYTES, None, 20)
    assert made.first.count("Question: ") == 6
    assert made.first == BYTES.decode(made.prompts[0].token_ids)
    assert made.stop == ("Question:", "</s>", "<|im_end|>")
    assert made.as_row()["stop"] == list(made.stop)


def test_words_that_the_tokenizer_does_not_know_are_told(task: Task) -> None:
    known = making.make_tokenizer("words", [f"{task.problems[0].question}\n"], 80)
    strange = replace(task.problems[1], question="zebra?")
    made = render(replace(task, problems=(task.problems[0], strange)), known, 90, None)
    told, room = made.notes
    assert told == "1 of 2 prompts hold words that the tokenizer does not know"
    assert room.startswith("answers have at most ")


@pytest.mark.parametrize("shared", ["bos_token", "eos_token"])
def test_a_token_that_begins_or_ends_texts_is_no_unknown_word(shared: str, task: Task) -> None:
    tokenizer = making.make_tokenizer("words", [f"{task.problems[0].question}\n"], 80)
    setattr(tokenizer, shared, tokenizer.unk_token)
    prompt = Prompt("a", (tokenizer.convert_tokens_to_ids(tokenizer.unk_token), 5))
    assert unknown_words([prompt], tokenizer) == []
