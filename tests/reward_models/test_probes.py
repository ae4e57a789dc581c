"""Probes against judges with known faults, and on a real model that was trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from iterative_grpo.splitters import lines
from reward_models.encoding import UnreadableSolution
from reward_models.model import RewardModel
from reward_models.probes import PROBES, Case, ProbeReport, ProbeResult, run_probes
from reward_models.training import TrainingSettings, train
from reward_models.types import LabeledSolution
from tests.reward_models.making import additions, llama, words


class Judge:
    """Scores by a function of question and text: the same at all ends."""

    def __init__(self, value: Callable[[str, str], float]) -> None:
        self.value = value

    def score(
        self, questions: Sequence[str], texts: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> list[tuple[float, ...]]:
        return [
            (self.value(question, text),) * len(cut)
            for question, text, cut in zip(questions, texts, ends, strict=True)
        ]


def sums(count: int) -> list[LabeledSolution]:
    rows = []
    for number in range(count):
        text = f"{number}+3={number + 3}\n{number + 3}*2={2 * number + 6}\n#### {2 * number + 6}"
        rows.append(
            LabeledSolution(
                f"p{number}",
                f"Ann has {number} coins. Ann wins 3, twice. How many?",
                text,
                (len(text),),
                (1.0,),
                ((1, 1),),
                1,
                "verdict",
                "",
                correct=True,
                finished=True,
            )
        )
    return rows


def truth(question: str, text: str) -> float:
    """A judge that knows: all equations hold and the answer is there."""
    found = [line for line in text.split("\n") if line]
    good = 0
    for line in found[:-1]:
        left, _, right = line.partition("=")
        a, sign, b = left.partition("+") if "+" in left else left.partition("*")
        if not (a.isdigit() and b.isdigit() and right.isdigit()):
            return 0.1
        good += int(right) == (int(a) + int(b) if sign == "+" else int(a) * int(b))
    number = question.split()[2]
    wanted = [f"{number}+3={int(number) + 3}", f"#### {2 * int(number) + 6}"]
    complete = len(found) == 3 and found[0] == wanted[0] and found[-1] == wanted[1]
    return 0.9 if complete and good == 2 else 0.1


def report(value: Callable[[str, str], float]) -> ProbeReport:
    return run_probes(Judge(value), lines.Splitter(), sums(20))


def test_a_judge_that_knows_fails_no_probe() -> None:
    found = report(truth)
    assert found.failed == ()
    assert [result.name for result in found.results] == list(PROBES)
    assert all(result.cases == 20 for result in found.results)
    assert all(result.genuine_mean == pytest.approx(0.9) for result in found.results)
    json.dumps(found.as_row())


@pytest.mark.parametrize(
    ("fault", "caught"),
    [
        (lambda question, text: min(1.0, len(text) / 200), "one step repeated"),
        (lambda question, text: 1 - len(set(text)) / max(1, len(text)), "one step repeated"),
        (lambda question, text: 1 / (1 + len(text)), "empty"),
        (lambda question, text: 0.5, "empty"),
        (lambda question, text: float("####" in text), "gold in noise"),
        (lambda question, text: float("####" in text), "wrong derivation"),
        (lambda question, text: text.count("\n") / 100, "separators split"),
        (lambda question, text: 1 / (1 + text.count("\n")), "separators merged"),
        (lambda question, text: len(set(question) & set(text)) / 100, "question restated"),
        (lambda question, text: float("Thank" in text), "thank you"),
    ],
    ids=[
        "loves length",
        "loves repetition",
        "loves brevity",
        "constant",
        "answer alone: noise",
        "answer alone: derivation",
        "loves steps",
        "loves few steps",
        "loves the question",
        "loves thanks",
    ],
)
def test_faults_are_caught_by_name(fault: Callable[[str, str], float], caught: str) -> None:
    found = report(fault)
    assert caught in found.failed
    result = next(result for result in found.results if result.name == caught)
    assert result.wins > 2
    assert result.probe_mean is not None
    assert result.genuine_mean is not None


def test_the_answer_alone_is_caught_with_its_text() -> None:
    found = report(lambda question, text: float("####" in text))
    result = next(result for result in found.results if result.name == "answer only")
    assert result.failed
    assert result.example.startswith("#### ")


def test_a_few_wins_are_allowed() -> None:
    judge = Judge(
        lambda question, text: 0.95 if not text and " 3 " in question else truth(question, text)
    )
    assert run_probes(judge, lines.Splitter(), sums(20), allowed=0.1).failed == ()
    assert run_probes(judge, lines.Splitter(), sums(20), allowed=0.0).failed == ("empty",)


def test_real_models_run_through_all_probes() -> None:
    tokenizer = words()
    model = RewardModel.from_shape(llama(len(tokenizer), context=512), tokenizer)
    rows = additions(800, 1, steps=True)
    train(model, rows, settings=TrainingSettings(learning_rate=3e-3, epochs=3))
    found = run_probes(model, lines.Splitter(), rows, limit=10)
    assert {result.cases + result.unreadable for result in found.results} == {10}
    # It only ever saw solutions that end in an answer: nothing says that it must pass.
    assert all(result.failed == (result.wins > 1) for result in found.results)


def test_genuine_solutions_are_needed() -> None:
    wrong = [row for row in additions(20, 1) if not row.correct]
    with pytest.raises(ValueError, match="is right and finished"):
        run_probes(Judge(truth), lines.Splitter(), wrong)
    cut = [dataclasses.replace(row, finished=False) for row in sums(3)]
    empty = dataclasses.replace(sums(1)[0], text="", ends=(0,))
    with pytest.raises(ValueError, match="none of 4 solutions is right and finished"):
        run_probes(Judge(truth), lines.Splitter(), [*cut, empty])


def made(name: str, text: str, seed: int = 0) -> str:
    ends = lines.Splitter().split(text)
    return PROBES[name](Case("How many?", text, ends, np.random.default_rng(seed)))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one step repeated", "2+3=5\n" * 8 + "#### 10"),
        ("answer only", "#### 10"),
        ("separators merged", "2+3=5 5*2=10 #### 10"),
        ("separators split", "2+\n3=5\n5*2\n=10\n###\n# 10"),
    ],
)
def test_probes_say_what_their_names_say(name: str, text: str) -> None:
    assert made(name, "2+3=5\n5*2=10\n#### 10") == text


def test_every_digit_of_a_wrong_derivation_is_wrong() -> None:
    for seed in range(30):
        found = made("wrong derivation", "20+30=50\n#### 50", seed)
        derivation, answer = found.split("\n")
        assert answer == "#### 50"
        assert [c for c in derivation if not c.isdigit()] == ["+", "="]
        assert all(a != b for a, b in zip(derivation, "20+30=50", strict=True) if b.isdigit())


def test_noise_is_the_questions_words_in_another_order() -> None:
    (row,) = sums(1)
    drawn = set()
    for seed in range(5):
        case = Case(
            row.question, row.text, lines.Splitter().split(row.text), np.random.default_rng(seed)
        )
        noise, answer = PROBES["gold in noise"](case).split("\n")
        assert sorted(noise.split()) == sorted(row.question.split())
        assert answer == row.text.split("\n")[-1]
        drawn.add(noise)
    assert len(drawn) > 1


def result_of(found: ProbeReport, name: str) -> ProbeResult:
    return next(result for result in found.results if result.name == name)


def test_solutions_are_drawn_by_the_seed_up_to_the_limit() -> None:
    def asked(seed: int, **limit: int) -> set[str]:
        questions: set[str] = set()

        def value(question: str, text: str) -> float:
            questions.add(question)
            return truth(question, text)

        run_probes(Judge(value), lines.Splitter(), sums(70), seed=seed, **limit)
        return questions

    assert len(asked(0, limit=5)) == 5
    assert asked(0, limit=5) == asked(0, limit=5) != asked(1, limit=5)
    assert len(asked(0)) == 64


def test_each_text_of_a_question_is_a_case_once() -> None:
    one, other, *_ = sums(2)
    other = dataclasses.replace(other, problem_id=one.problem_id, question=one.question)
    found = run_probes(Judge(truth), lines.Splitter(), [one, other, one, other])
    assert {result.cases for result in found.results} == {2}


def test_what_changes_nothing_is_no_case() -> None:
    short = [dataclasses.replace(row, text="#### 6", ends=(6,)) for row in sums(3)]
    merged = result_of(
        run_probes(Judge(lambda question, text: 0.5), lines.Splitter(), short), "separators merged"
    )
    assert (merged.cases, merged.wins, merged.unreadable, merged.failed) == (0, 0, 0, False)
    assert (merged.genuine_mean, merged.probe_mean, merged.example) == (None, None, "")


def test_what_cannot_be_read_is_counted_apart() -> None:
    def value(question: str, text: str) -> float:
        number = int(question.split()[2])
        if text == "Thank you.":
            if number >= 10:
                raise UnreadableSolution(question)
            return 0.95 if number < 2 else 0.05
        return truth(question, text)

    thanks = result_of(report(value), "thank you")
    assert (thanks.cases, thanks.wins, thanks.unreadable) == (10, 2, 10)
    # Two of the ten that were read, with one allowed.
    assert thanks.failed
    assert thanks.probe_mean == pytest.approx((2 * 0.95 + 8 * 0.05) / 10)
    assert thanks.genuine_mean == pytest.approx(0.9)


def test_the_example_has_the_largest_lead() -> None:
    def value(question: str, text: str) -> float:
        return int(question.split()[2]) / 100 + 0.5 if text == question else 0.4

    restated = result_of(report(value), "question restated")
    assert restated.wins == 20
    assert restated.example == sums(20)[-1].question


class LastEnd:
    """A judge whose scores before the last end say the contrary."""

    def score(
        self, questions: Sequence[str], texts: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> list[tuple[float, ...]]:
        rows = []
        for question, text, cut in zip(questions, texts, ends, strict=True):
            last = truth(question, text)
            rows.append((*[1 - last] * (len(cut) - 1), last))
        return rows


def test_last_ends_are_compared() -> None:
    found = run_probes(LastEnd(), lines.Splitter(), sums(20))
    assert found.failed == ()
    assert {result.wins for result in found.results} == {0}
