"""Probes against judges with known faults, and on a real model that was trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from iterative_grpo.splitters import lines
from reward_models.model import RewardModel
from reward_models.probes import PROBES, ProbeReport, run_probes
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
