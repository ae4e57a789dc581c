import json
from pathlib import Path

import pytest

from iterative_grpo.types import Problem
from pipelines.datasets import checksum, find, load
from pipelines.datasets._boxed import last_boxed
from tests.pipelines.datasets.rows import GSM8K, MATH, MATH500, write


def test_gsm8k_takes_the_number_after_the_mark_and_drops_calculator_marks(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [GSM8K[50]])
    (problem,) = load("gsm8k", "test", path=tmp_path).problems
    assert problem.answer == "1048"
    assert find("gsm8k").demonstration(problem) == (
        "There are 350*3=1050 jars.\n1050-2=1048 are whole.\n#### 1048"
    )


def test_math_tags_level_and_subject(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [MATH[7]])
    (problem,) = load("math", "test", path=tmp_path).problems
    assert (problem.answer, problem.tags["level"], problem.tags["subject"]) == (
        "49",
        "3",
        "Algebra",
    )
    assert find("math").demonstration(problem) == MATH[7]["solution"]


def test_math500_takes_the_answer_of_the_row(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", MATH500)
    (problem,) = load("math500", "test", path=tmp_path).problems
    assert problem.answer == "\\frac{x^2}{2}"
    assert (problem.tags["level"], problem.tags["unique_id"]) == ("2", "test/algebra/9001.json")


SMALL_SETS = {
    "svamp": {
        "Body": "Ida had 9 figs.",
        "Question": " She ate 1. How many are left?",
        "Answer": "8.0",
    },
    "asdiv": {"body": "Ida had 9 figs.", "question": "How many?", "answer": "1,009 (figs)"},
    "mawps": {"question": "Ida shared 56 figs among 9. How many each?", "result": "56/9"},
    "aime": {"problem": "Find $9\\cdot 8+1$.", "solution": "It is 73.", "answer": "073"},
}


@pytest.mark.parametrize(
    ("name", "question", "gold"),
    [
        ("svamp", "Ida had 9 figs. She ate 1. How many are left?", "8"),
        ("asdiv", "Ida had 9 figs. How many?", "1009"),
        ("mawps", "Ida shared 56 figs among 9. How many each?", "56/9"),
        ("aime", "Find $9\\cdot 8+1$.", "73"),
    ],
)
def test_small_sets(name: str, question: str, gold: str, tmp_path: Path) -> None:
    write(tmp_path / name / "test.jsonl", [SMALL_SETS[name]])
    (problem,) = load(name, "test", path=tmp_path).problems
    assert (problem.question, problem.answer) == (question, gold)
    assert find(name).VERIFIER in ("gsm8k", "math")
    assert find(name).demonstration(problem)


def test_a_gold_of_zeros_is_zero(tmp_path: Path) -> None:
    write(tmp_path / "aime" / "test.jsonl", [{**SMALL_SETS["aime"], "answer": "000"}])
    (problem,) = load("aime", "test", path=tmp_path).problems
    assert problem.answer == "0"


@pytest.mark.parametrize(
    ("solution", "content"),
    [
        (r"so $\boxed{7}$", "7"),
        (r"\boxed{1} or rather $\boxed{\frac{1}{\sqrt{2}}}$.", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{1}, then cut off \boxed{\frac{1}{2}", "1"),
        (r"the set $\boxed{\{1,2\}}$", r"\{1,2\}"),
        (r"which is $\boxed 7$.", "7"),
        (r"nothing: \boxed{}", ""),
        ("no box", None),
        (r"only \boxed", None),
    ],
)
def test_last_boxed(solution: str, content: str | None) -> None:
    assert last_boxed(solution) == content


@pytest.mark.parametrize(
    ("name", "split", "rows"),
    [
        ("gsm8k", "train", 7099),
        ("gsm8k", "validation", 374),
        ("gsm8k", "test", 1319),
        ("math", "train", 7123),
        ("math", "validation", 375),
        ("math", "test", 5000),
        ("math500", "test", 500),
    ],
)
def test_the_official_sets_load_whole(name: str, split: str, rows: int, real_data: Path) -> None:
    loaded = load(name, split, path=real_data)
    assert len(loaded.problems) == loaded.rows == rows
    assert loaded.note == ""
    assert loaded.official


def test_an_altered_set_says_so_and_one_in_another_order_does_not(
    real_data: Path, tmp_path: Path
) -> None:
    lines = (real_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.parent.mkdir()
    file.write_text("\n".join(reversed(lines)), encoding="utf-8")
    assert load("gsm8k", "test", path=tmp_path).official
    row = json.loads(lines[7])
    lines[7] = json.dumps({**row, "question": row["question"] + " Explain."})
    file.write_text("\n".join(lines), encoding="utf-8")
    altered = load("gsm8k", "test", path=tmp_path)
    assert not altered.official
    assert "differs from the published set: all 1,319 rows, other questions" in altered.note


def test_checksum_tells_questions_and_golds_apart() -> None:
    def of(*rows: tuple[str, str]) -> str:
        return checksum(Problem(str(i), q, a, "set") for i, (q, a) in enumerate(rows))

    assert of(("a", "1"), ("b", "2")) == of(("b", "2"), ("a", "1"))
    different = [(("a", "1"),), (("a", "2"),), (("a1", ""),), (("", "a1"),), (("a", "1"),) * 2]
    assert len({of(*rows) for rows in different}) == len(different)


@pytest.mark.parametrize("split", ["train", "test"])
def test_math_golds_equal_the_index(split: str, real_data: Path) -> None:
    # The index was cut out by other code, which errs on one row: there the solution has a box in
    # the short form, and then "$\boxed{17}$." at its end.
    known = {("train", 825): "17"}
    halves = ["train", "validation"] if split == "train" else ["test"]
    golds = {
        each.id: each.answer
        for half in halves
        for each in load("math", half, path=real_data).problems
    }
    with (real_data / "math_index" / f"{split}.jsonl").open(encoding="utf-8") as file:
        index = [json.loads(line)["answer"] for line in file]
    expected = {
        f"math/{split}/{number}": known.get((split, number), answer)
        for number, answer in enumerate(index)
        if answer
    }
    assert golds == expected
    assert len(load("math", split, path=real_data).rejected) == len(index) - len(expected)


def test_math500_golds_equal_their_last_box(real_data: Path) -> None:
    for problem in load("math500", "test", path=real_data).problems:
        assert problem.answer == last_boxed(problem.tags["solution"])
