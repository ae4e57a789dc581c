import itertools
import random
import re
import time
from pathlib import Path

import pytest

from iterative_grpo.types import Problem
from pipelines.datasets import arithmetic, load


def problems(count: int = 2000, split: str = "train") -> list[Problem]:
    return list(itertools.islice(arithmetic.make(split, seed=7), count))


def one(question_operations: str, start: int) -> Problem:
    """A problem for step checks, which read the tags alone."""
    return Problem(
        "t", "?", "?", "arithmetic", {"start": str(start), "operations": question_operations}
    )


def read_aloud(question: str) -> tuple[int, list[int]]:
    """Solve a question from its words alone, without its tags: answer, values on the way."""
    first, *sentences = question.removesuffix(" How many?").rstrip(".").split(". ")
    value = int(re.findall(r"\d+", first)[0])
    values = [value]
    for sentence in sentences:
        numbers = [int(each) for each in re.findall(r"\d+", sentence)]
        if "times" in sentence:
            value *= numbers[0]
        elif "boxes" in sentence:
            value += numbers[0] * numbers[1]
        elif re.search("gives|loses|sells", sentence):
            value -= numbers[0]
        else:
            assert re.search("wins|finds|gets", sentence), sentence
            value += numbers[0]
        values.append(value)
    return value, values


def test_golds_follow_from_the_words() -> None:
    for problem in problems():
        answer, values = read_aloud(problem.question)
        assert problem.answer == str(answer)
        assert all(0 < value <= arithmetic.LARGEST for value in values)
        assert len(values) - 1 == int(problem.tags["level"])


def test_reference_steps_are_sums_that_hold_and_end_in_the_gold() -> None:
    for problem in problems(500):
        steps = problem.tags["steps"].split(";")
        for step in steps:
            left, sign, right, result = re.fullmatch(r"(\d+)([-+*])(\d+)=(\d+)", step).groups()  # type: ignore[union-attr]
            a, b = int(left), int(right)
            assert {"+": a + b, "-": a - b, "*": a * b}[sign] == int(result)
        assert steps[-1].endswith(f"={problem.answer}")
        assert arithmetic.demonstration(problem).split("\n") == [*steps, f"#### {problem.answer}"]


def test_the_example_of_the_documentation() -> None:
    problem = one("wins 5; boxes 2 4", 18)
    assert arithmetic.demonstration(problem) == "18+5=23\n2*4=8\n23+8=31\n#### 31"


def test_splits_share_no_problem_whatever_the_names_and_seeds() -> None:
    keys = {
        split: {
            (each.tags["start"], each.tags["operations"])
            for seed in (0, 1)
            for each in load("arithmetic", split, limit=1000, seed=seed).problems
        }
        for split in arithmetic.SPLITS
    }
    assert not keys["train"] & keys["validation"]
    assert not keys["train"] & keys["test"]
    assert not keys["validation"] & keys["test"]
    assert len(keys["train"]) > 1900


def test_the_seed_fixes_the_problems_and_the_fingerprint() -> None:
    one = load("arithmetic", "train", limit=50, seed=3)
    assert one == load("arithmetic", "train", limit=50, seed=3)
    assert one.problems == load("arithmetic", "train", limit=80, seed=3).problems[:50]
    assert one.fingerprint != load("arithmetic", "train", limit=50, seed=4).fingerprint
    # More than the split has by itself may be asked for.
    assert len(load("arithmetic", "validation", limit=310).problems) == 310
    assert len(load("arithmetic", "validation").problems) == 300


def test_a_folder_for_other_sets_changes_nothing(tmp_path: Path) -> None:
    assert load("arithmetic", "test", path=tmp_path, limit=9) == load("arithmetic", "test", limit=9)


def test_mistakes_come_with_their_chances() -> None:
    rng = random.Random(0)
    tries = 4000
    fault = {
        "gives 5": "20+5=25\n#### 25",
        "times 3": "#### 20",
        "boxes 2 9": "2+9=11\n20+11=31\n#### 31",
        "sells 5": "20+5=25\n#### 25",
        "gets 5": "20-5=15\n#### 15",
    }
    for operations, wrong in fault.items():
        problem = one(operations, 20)
        written = [arithmetic.faulty_demonstration(problem, rng) for _ in range(tries)]
        right = arithmetic.demonstration(problem)
        assert set(written) == {right, wrong}
        share = written.count(wrong) / tries
        chance = arithmetic.MISTAKES[operations.split()[0]]
        assert abs(share - chance) < 4 * (chance * (1 - chance) / tries) ** 0.5
    for operations in ("wins 5", "finds 5", "loses 5"):
        problem = one(operations, 20)
        assert arithmetic.faulty_demonstration(problem, rng) == arithmetic.demonstration(problem)


def test_about_three_fifths_of_the_demonstrations_are_right() -> None:
    rng = random.Random(0)
    right = [
        arithmetic.faulty_demonstration(each, rng).endswith(f"#### {each.answer}")
        for each in problems()
    ]
    assert 0.56 < sum(right) / len(right) < 0.64


def test_numbers_of_faulty_demonstrations_have_two_digits_at_most() -> None:
    rng = random.Random(1)
    for problem in problems():
        written = arithmetic.faulty_demonstration(problem, rng)
        assert all(len(number) <= 2 for number in re.findall(r"\d+", written))
        assert "-" not in re.sub(r"\d-\d", "", written)


def lines_and_ends(text: str) -> tuple[int, ...]:
    ends = [position + 1 for position, sign in enumerate(text) if sign == "\n"]
    return tuple(sorted({*ends, len(text)}))


START, OPERATIONS = 18, "wins 5; boxes 2 4; times 2; sells 7"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # In the order of the words, then in others that are right too.
        ("18+5=23\n2*4=8\n23+8=31\n31*2=62\n62-7=55\n#### 55", "RRRRRR"),
        ("2*4=8\n18+5=23\n23+8=31\n31*2=62\n62-7=55\n#### 55", "RRRRRR"),
        ("4*2=8\n8+18=26\n5+26=31\n2*31=62\n62-7=55\n#### 55\n", "RRRRRR"),
        ("2*4=8\n5+8=13\n18+13=31\n31*2=62\n62-7=55\n#### 55", "RRRRRR"),
        # A wrong result, a wrong operation, a sentence left out: wrong from there on.
        ("18+5=24\n2*4=8\n24+8=32\n32*2=64\n64-7=57\n#### 57", "WWWWWW"),
        ("18-5=13\n2*4=8\n13+8=21\n21*2=42\n42-7=35\n#### 35", "WWWWWW"),
        ("18+5=23\n2+4=6\n23+6=29\n29*2=58\n58-7=51\n#### 51", "RWWWWW"),
        ("18+5=23\n2*4=8\n23+8=31\n31-7=24\n#### 24", "RRRWW"),
        ("18+5=23\n23*2=46\n2*4=8\n46+8=54\n54-7=47\n#### 47", "RWWWWW"),
        # The same number used twice, an empty step, an answer before its time, words after it.
        ("18+5=23\n23+5=28\n", "RW"),
        ("18+5=23\n\n2*4=8\n", "RWW"),
        ("18+5=23\n#### 55", "RW"),
        ("18+5=23\n2*4=8\n23+8=31\n31*2=62\n62-7=55\n#### 55\n#### 55", "RRRRRRW"),
        # Cut off: the steps were right, the whole is not.
        ("18+5=23\n2*4=8\n", "RW"),
        ("18+5=23\n2*4", "RW"),
        ("", "W"),
        # Not the format.
        ("18 + 5 = 23\n", "W"),
        ("\u0661\u0668+5=23\n", "W"),
        ("18+5=23=23\n", "W"),
        ("9" * 5000 + "+1=2\n", "W"),
    ],
)
def test_step_truth(text: str, expected: str) -> None:
    verdicts = arithmetic.check_steps(one(OPERATIONS, START), text, lines_and_ends(text))
    assert "".join("WR"[verdict] for verdict in verdicts) == expected


def test_losses_may_be_joined_and_equal_numbers_are_told_apart() -> None:
    problem = one("loses 5; gives 5; wins 5", 5)
    for text in (
        "5+5=10\n5+5=10\n10-10=0\n#### 0",
        "5-5=0\n5-5=0\n0+0=0\n#### 0",
        "5-5=0\n0+5=5\n5-5=0\n#### 0",
    ):
        assert all(arithmetic.check_steps(problem, text, lines_and_ends(text))), text
    assert arithmetic.check_steps(problem, "5+5=10\n5+5=10\n5+5=10\n", (7, 14, 21)) == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("text", ["7" * 200_000, "1+1=2\n" * 40_000, "\n" * 200_000])
def test_endless_texts_with_an_end_everywhere_are_judged_at_once(text: str) -> None:
    began = time.perf_counter()
    verdicts = arithmetic.check_steps(one(OPERATIONS, START), text, range(1, len(text) + 1))
    assert not any(verdicts)
    assert time.perf_counter() - began < 20


def test_ends_may_be_anywhere() -> None:
    text = "18+5=23\n2*4=8\n"
    assert arithmetic.check_steps(one("wins 5; boxes 2 4", 18), text, (3, 7, 8, 10, 13)) == [
        False,
        True,
        True,
        False,
        True,
    ]


def test_whole_demonstrations_are_right_exactly_when_their_answers_are() -> None:
    rng = random.Random(2)
    disagreements = 0
    for problem in problems():
        text = arithmetic.demonstration(problem)
        assert all(arithmetic.check_steps(problem, text, lines_and_ends(text)))
        text = arithmetic.faulty_demonstration(problem, rng)
        verdicts = arithmetic.check_steps(problem, text, lines_and_ends(text))
        assert verdicts == sorted(verdicts, reverse=True)
        right_answer = text.endswith(f"#### {problem.answer}")
        if verdicts[-1] != right_answer:
            assert right_answer  # two mistakes that cancel out
            disagreements += 1
    assert disagreements <= 0.005 * 2000
