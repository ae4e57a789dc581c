"""Formats with worked examples: what lm-eval 0.4.13 writes, kept as fingerprints.

`benchmarks/parity.py` compares every prompt with lm-eval itself.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from iterative_grpo import plugins
from iterative_grpo.types import Problem
from pipelines import datasets, prompts
from pipelines.making import make_tokenizer
from verifiers import verify

PROBLEM = Problem("toy/test/0", "How many?", "2", "toy")


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer("bpe", ["How many?"], 300)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def rows(folder: Path, count: int) -> list[tuple[str, str]]:
    """Write a training split of `count` rows and return its questions and answers."""
    made = [
        (f"What is {i} + {i}?", f"It is <<{i}+{i}={2 * i}>>.\n#### {2 * i}") for i in range(count)
    ]
    (folder / "gsm8k").mkdir()
    (folder / "gsm8k" / "train.jsonl").write_text(
        "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in made)
    )
    return made


def test_eight_examples_precede_the_question(tokenizer: PreTrainedTokenizerFast) -> None:
    text = prompts.find("gsm8k_8shot").render(PROBLEM, tokenizer)
    blocks = text.split("\n\n")
    assert len(blocks) == 9
    assert all(block.startswith("Q: ") and block.count("\nA: ") == 1 for block in blocks[:8])
    assert blocks[0].endswith("So there must have been 21 - 15 = 6. The answer is 6.")
    assert blocks[8] == "Q: How many?\nA:"
    assert prompts.find("lm_eval_gsm8k_cot").render(PROBLEM, tokenizer) == text


def test_minervas_prompt_and_lm_evals_differ_in_a_brace_and_in_new_lines(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    paper = prompts.find("minerva_4shot").render(PROBLEM, tokenizer)
    harness = prompts.find("lm_eval_minerva_math").render(PROBLEM, tokenizer)
    assert paper.endswith("I hope it is correct.\n\nProblem:\nHow many?\n\nSolution:")
    assert paper.count("Problem:\n") == paper.count("\n\nSolution:") == 5
    changed = paper.replace("{5-x}}$.}\n", "{5-x}}$.\n", 1).replace("Solution:\n", "Solution: ")
    assert harness == changed != paper


@pytest.mark.parametrize("name", ["gsm8k_8shot", "minerva_4shot"])
def test_worked_examples_state_their_answers_as_the_verifier_reads_them(name: str) -> None:
    module = plugins.find("pipelines.prompts", name)
    golds = {
        "gsm8k_8shot": ["6", "5", "39", "8", "9", "29", "33", "8"],
        "minerva_4shot": ["[2,5)", "24", "16", r"-\frac{2}{3}"],
    }[name]
    convention = "gsm8k" if name == "gsm8k_8shot" else "math"
    for example, gold in zip(module.EXAMPLES, golds, strict=True):
        assert verify(example.answer, gold, convention=convention).correct
        assert not verify(example.answer, "7", convention=convention).correct
        # An answer of this form ends before what stops it, and does not stop itself.
        assert not any(stop in example.answer for stop in module.STOP)
        assert any(stop in example.asked for stop in module.STOP)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gsm8k_8shot", "6b14c4d235e15899ca784c8336c2a28e008b360e4b21d34391bc0dd1c2da78a2"),
        ("lm_eval_gsm8k_cot", "6b14c4d235e15899ca784c8336c2a28e008b360e4b21d34391bc0dd1c2da78a2"),
        ("minerva_4shot", "cad02144d238125441a974d180daec3d3db82d01fb6241a4a0c10a212c963827"),
        (
            "lm_eval_minerva_math",
            "3b5a2bd9a5e20d987a5bff9089bd5e11123f182e62c1c7726fc9f1ee6a9b0720",
        ),
    ],
)
def test_prompts_stay_as_they_were_when_compared_with_lm_eval(
    name: str, expected: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert sha256(prompts.find(name).render(PROBLEM, tokenizer)) == expected


@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        (
            "lm_eval_gsm8k",
            "gsm8k",
            "32680f263ba83280e98a8a24ceefed10a722a4cdcd9f4d78e93c45d43143ca66",
        ),
        (
            "lm_eval_gsm8k_cot",
            "gsm8k",
            "901fead9abd2535b6d0610c3c90125f38cad81678c4b2b98ec8fb818e3948bde",
        ),
        (
            "lm_eval_minerva_math",
            "math",
            "482ad3d668c70ade5a0fa32b81c7e4dd38fd06b8f0270b0f820087162ac2e6b4",
        ),
    ],
)
def test_first_real_prompts_are_lm_evals(
    name: str, task: str, expected: str, tokenizer: PreTrainedTokenizerFast, real_data: Path
) -> None:
    first = datasets.load(task, "test", path=real_data).problems[0]
    assert sha256(prompts.find(name, real_data).render(first, tokenizer)) == expected


def test_each_question_gets_the_rows_that_one_stream_draws_for_it(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    train = rows(tmp_path, 30)
    form = prompts.find("lm_eval_gsm8k", tmp_path)
    stream = random.Random(1234)
    expected = []
    for _ in range(4):
        shown = "".join(f"Question: {q}\nAnswer: {a}\n\n" for q, a in stream.sample(train, 5))
        expected.append(f"{shown}Question: How many?\nAnswer:")
    problems = [Problem(f"gsm8k/test/{i}", "How many?", "2", "gsm8k") for i in range(4)]
    # The order in which questions are rendered changes nothing: a limited subset is the same.
    assert [form.render(problems[i], tokenizer) for i in (3, 0, 2)] == [
        expected[i] for i in (3, 0, 2)
    ]
    made = prompts.make_prompts(problems, tokenizer, "lm_eval_gsm8k", data=tmp_path)
    assert [tokenizer.decode(each.token_ids) for each in made] == expected


def test_a_training_question_is_no_example_of_itself(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    train = rows(tmp_path, 6)  # all six are drawn for every question
    form = prompts.find("lm_eval_gsm8k", tmp_path)
    for number, (question, _) in enumerate(train):
        text = form.render(Problem(f"gsm8k/train/{number}", question, "2", "gsm8k"), tokenizer)
        assert text.count("Question: ") == 6
        assert text.count(question) == 1
        assert text.endswith(f"Question: {question}\nAnswer:")


def test_examples_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(datasets.DataError, match=r"gsm8k: found neither .*train\.jsonl"):
        prompts.find("lm_eval_gsm8k", tmp_path)


def test_a_question_without_a_number_is_refused(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    rows(tmp_path, 6)
    form = prompts.find("lm_eval_gsm8k", tmp_path)
    with pytest.raises(
        ValueError, match="toy/test/a: lm_eval_gsm8k chooses examples by the number"
    ):
        form.render(Problem("toy/test/a", "How many?", "2", "toy"), tokenizer)


@pytest.mark.parametrize(
    ("name", "turns", "last"),
    [
        ("gsm8k_8shot_chat", 17, "[user] Q: How many?\nA:\n[assistant] "),
        ("minerva_4shot_chat", 9, "[user] Problem:\nHow many?\n\nSolution:\n[assistant] "),
    ],
)
def test_examples_are_earlier_turns_of_a_chat(
    name: str, turns: int, last: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    form = prompts.find(name)
    with pytest.raises(ValueError, match=f"has no chat template.*{name.removesuffix('_chat')}"):
        form.render(PROBLEM, tokenizer)
    tokenizer.chat_template = (
        "{% for turn in messages %}[{{ turn.role }}] {{ turn.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    text = form.render(PROBLEM, tokenizer)
    assert text.count("\n[assistant] ") == (turns + 1) // 2
    assert text.count("[user] ") == (turns + 1) // 2
    assert text.endswith(last)
    asked = [example.asked for example in plugins.find("pipelines.prompts", name).EXAMPLES]
    assert sorted(asked, key=text.index) == asked
    assert not form.SPECIAL_TOKENS


def test_an_answer_ends_where_the_policy_would_ask_on() -> None:
    of_lm_eval = ("</s>", "<|im_end|>")
    expected = {
        "gsm8k_8shot": ("Q:",),
        "gsm8k_8shot_chat": ("Q:",),
        "minerva_4shot": ("Problem:",),
        "minerva_4shot_chat": ("Problem:",),
        "lm_eval_minerva_math": ("Problem:",),
        "lm_eval_gsm8k": ("Question:", *of_lm_eval),
        "lm_eval_gsm8k_cot": ("Q:", *of_lm_eval),
    }
    assert {name: prompts.stop_strings(name) for name in expected} == expected


@pytest.mark.parametrize("name", plugins.names("pipelines.prompts"))
def test_every_format_says_what_stops_an_answer(name: str) -> None:
    stop = prompts.stop_strings(name)
    assert isinstance(stop, tuple)
    assert all(isinstance(string, str) and string for string in stop)
