"""What is left out, reported and refused; and what the real sets share."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from iterative_grpo.types import Problem
from pipelines import datasets, decontamination, preflight, questions
from pipelines.config import Config, Decontaminate
from pipelines.datasets import Split
from pipelines.decontamination import Contaminated, find
from pipelines.phases import sample
from pipelines.progress import Progress
from reward_models.leaks import LeakedQuestion
from tests.pipelines import toy
from tests.pipelines.datasets.rows import write

FRUIT = "Tia has {} plums and {} pears in her red basket and eats a plum. How many are left?"
ASKED = [FRUIT.format(7, 2), "Which number is the sum of one hundred and one thousand and two?"]
TRAINED = [
    FRUIT.format(7, 2).replace(" ", "  "),
    FRUIT.format(7, 2).replace("left?", "left over?"),
    FRUIT.format(9, 4),
    "Nothing like it: a wheel has 8 spokes, each as long as a foot. How long are all of them?",
]


def gsm8k(questions: list[str]) -> list[dict[str, str]]:
    return [{"question": text, "answer": "So it is.\n#### 8"} for text in questions]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write train with one question of each kind, and test; nothing of train is carved out."""
    filler = [f"{n} wheels of {n + 3} spokes each: {'spokes ' * n}?" for n in range(1, 40)]
    write(tmp_path / "data/gsm8k/train.jsonl", gsm8k(TRAINED + filler))
    write(tmp_path / "data/gsm8k/test.jsonl", gsm8k(ASKED))
    write(tmp_path / "data/svamp/test.jsonl", [
        {"Body": "A farm has 12 cows.", "Question": "How many legs?", "Answer": "48.0"}
    ])  # fmt: skip
    return tmp_path / "data"


def config(tmp_path: Path, folder: Path, *overrides: str) -> Config:
    return toy.config(tmp_path, folder, *overrides)


def ids(problems: tuple[Problem, ...]) -> list[int]:
    return [int(problem.id.rpartition("/")[2]) for problem in problems]


def test_exact_and_near_are_left_out_and_templates_stay(tmp_path: Path, folder: Path) -> None:
    whole = config(tmp_path, folder, "data.decontaminate=null")
    cleaned = config(tmp_path, folder)
    before, after = (
        ids(questions.training(whole).problems),
        ids(questions.training(cleaned).problems),
    )
    assert {0, 1, 2, 3} <= set(before), "the validation split has taken a question of this test"
    assert after == [number for number in before if number not in (0, 1)]
    found = questions.contamination(cleaned)
    assert [(pair.kind, pair.train.id, pair.evaluation.id) for pair in found.pairs] == [
        ("exact", "gsm8k/train/0", "gsm8k/test/0"),
        ("near", "gsm8k/train/1", "gsm8k/test/0"),
        ("template", "gsm8k/train/2", "gsm8k/test/0"),
    ]


@pytest.mark.parametrize(
    ("override", "left_out"),
    [
        ("data.decontaminate.near=report", {0}),
        ("data.decontaminate.exact=ignore", {1}),
        ("data.decontaminate.template=drop", {0, 1, 2}),
        ("data.decontaminate.similarity=1", {0}),
    ],
)
def test_each_kind_has_its_own_action(
    override: str, left_out: set[int], tmp_path: Path, folder: Path
) -> None:
    found = questions.contamination(config(tmp_path, folder, override))
    assert {int(name.rpartition("/")[2]) for name in found.dropped} == left_out


def test_refusing_names_the_pair_and_what_to_do(tmp_path: Path, folder: Path) -> None:
    settings = config(tmp_path, folder, "data.decontaminate.near=refuse")
    with pytest.raises(Contaminated, match=r"1 training .* gsm8k/train/1.*gsm8k/test/0.*near=drop"):
        preflight.check(settings, Progress(quiet=True))


def test_findings_are_printed_and_recorded_whole(tmp_path: Path, folder: Path) -> None:
    settings = config(tmp_path, folder)
    stream = io.StringIO()
    preflight.check(settings, Progress(stream))
    said = stream.getvalue()
    assert (
        "against gsm8k/test (2): 1 exact (left out), 1 near (left out), 1 template (kept)" in said
    )
    assert "left out gsm8k/train/0 for gsm8k/test/0, exact 1.00: 'Tia has 7 plums" in said
    record = json.loads(json.dumps(decontamination.record(questions.contamination(settings))))
    assert record["left_out"] == ["gsm8k/train/0", "gsm8k/train/1"]
    assert record["compared"][0]["found"] == {"exact": 1, "near": 1, "template": 1, "ngram": 0}
    assert [pair["train_id"] for pair in record["pairs"]] == [f"gsm8k/train/{n}" for n in range(3)]
    assert [pair["train_question"] for pair in record["pairs"]] == TRAINED[:3]
    assert {pair["evaluation_question"] for pair in record["pairs"]} == {ASKED[0]}


def test_the_most_alike_are_shown_and_the_others_counted(tmp_path: Path, folder: Path) -> None:
    alike = [f"{ASKED[0]} {'Well, ' * n}" for n in range(8, 0, -1)]
    write(folder / "gsm8k/train.jsonl", gsm8k([*alike, TRAINED[0], *TRAINED[3:] * 40]))
    near = ("data.decontaminate.similarity=0.5", "data.decontaminate.ngram=drop")
    found = questions.contamination(config(tmp_path, folder, *near))
    assert len(found.dropped) > 5
    *lines, last = list(decontamination.lines(found))[-6:]
    shown = [float(line.split(": ")[0].split()[-1]) for line in lines]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == 1.0
    assert f"... {len(found.dropped)} in all" in last


def test_off_is_said(tmp_path: Path, folder: Path) -> None:
    stream = io.StringIO()
    off = config(tmp_path, folder, "data.decontaminate=null", "reward=verifier")
    preflight.check(off, Progress(stream))
    assert "decontamination is off" in stream.getvalue()
    # A reward model that learned from evaluation questions could not be measured on them.
    with pytest.raises(LeakedQuestion, match=r"set data\.decontaminate\.exact=drop"):
        preflight.check(config(tmp_path, folder, "data.decontaminate=null"), Progress(stream))


def depends_on(settings: Config) -> object:
    return sample.settings(settings)["data"]


def test_phases_depend_on_what_was_left_out_and_on_nothing_else(
    tmp_path: Path, folder: Path
) -> None:
    usual = depends_on(config(tmp_path, folder))
    other_list = depends_on(config(tmp_path, folder, "evaluate.tasks=[svamp]"))
    assert usual != other_list
    assert depends_on(config(tmp_path, folder, "evaluate.tasks=[svamp, gsm8k]")) == usual
    assert depends_on(config(tmp_path, folder, "evaluate.tasks=[openai/gsm8k]")) == usual
    assert depends_on(config(tmp_path, folder, "evaluate.limit=1")) == usual
    assert depends_on(config(tmp_path, folder, "data.decontaminate.words=9")) == usual
    nothing_found = depends_on(config(tmp_path, folder, "data.decontaminate=null"))
    assert nothing_found == other_list


def test_what_is_kept_is_the_same_training_set_whether_it_is_reported_or_not(
    tmp_path: Path, folder: Path
) -> None:
    ignoring = config(tmp_path, folder, "data.decontaminate.template=ignore")
    assert depends_on(ignoring) == depends_on(config(tmp_path, folder))
    assert {pair.kind for pair in questions.contamination(ignoring).pairs} == {"exact", "near"}


def test_whole_sets_are_compared_once_each_and_the_first_reason_is_kept(folder: Path) -> None:
    body, question = ASKED[0].split(". ")
    rows = [{"Body": f"{body}.", "Question": question}, {"Body": "Four.", "Question": "And one?"}]
    write(folder / "svamp/test.jsonl", [{**row, "Answer": "8.0"} for row in rows])
    training = datasets.load("gsm8k", "train", path=folder)
    tasks = ["gsm8k", "svamp", "openai/gsm8k", "gsm8k/test"]
    found = find(training, tasks, Decontaminate(words=4), path=folder, limit=1)
    assert [(it.task, it.questions) for it in found.compared] == [
        ("gsm8k/test", 2), ("svamp/test", 2),
    ]  # fmt: skip
    assert found.dropped["gsm8k/train/0"].task == "gsm8k/test"
    # Four words in a row are in common with other fruit.
    shared = find(training, ["gsm8k"], Decontaminate(words=4, similarity=1), path=folder)
    assert shared.counts("gsm8k/test")["ngram"] > 0
    longer = find(training, ["gsm8k"], Decontaminate(words=40, similarity=1), path=folder)
    assert longer.counts("gsm8k/test")["ngram"] == 0


def test_made_questions_are_compared_with_those_of_other_sets_by_their_text(folder: Path) -> None:
    training = datasets.load("arithmetic", "train", limit=20)
    found = find(training, ["gsm8k/test", "arithmetic/test"], Decontaminate(), path=folder)
    assert [each.by for each in found.compared] == ["text", "identity"]


def test_as_many_other_questions_left_out_are_another_training_set(
    tmp_path: Path, folder: Path
) -> None:
    one = depends_on(config(tmp_path, folder, "data.decontaminate.near=report"))
    other = depends_on(config(tmp_path, folder, "data.decontaminate.exact=ignore"))
    assert one != other


def test_an_evaluation_on_the_training_split_itself_is_passed_over(
    tmp_path: Path, folder: Path
) -> None:
    found = questions.contamination(config(tmp_path, folder, "evaluate.tasks=[gsm8k/train]"))
    assert found.compared == ()
    assert not found.dropped
    assert list(decontamination.lines(found)) == [
        "decontamination: gsm8k/train is what is trained on; its accuracy is that of the fit"
    ]


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "d/gsm8k/train.jsonl", gsm8k(TRAINED[3:] * 30))
    write(tmp_path / "d/gsm8k/test.jsonl", gsm8k(TRAINED[3:]))
    split = Split("gsm8k", "train", datasets.load(
        "gsm8k", "test", path=tmp_path / "d").problems, "", "")  # fmt: skip
    with pytest.raises(Contaminated, match="all 1 training questions"):
        find(split, ["gsm8k/test"], Decontaminate(), path=tmp_path / "d")


def test_arithmetic_splits_share_no_question_by_their_own_identity() -> None:
    training = datasets.load("arithmetic", "train", limit=5_000)
    found = find(training, ["arithmetic/test", "arithmetic/validation"], Decontaminate())
    assert [each.by for each in found.compared] == ["identity", "identity"]
    assert found.pairs == ()
    assert found.clean(training.problems) == training.problems


def test_a_made_question_of_the_test_split_is_found_under_another_name() -> None:
    test = datasets.load("arithmetic", "test", limit=1).problems[0]
    name = test.question.split()[0]
    renamed = test.question.replace(name, "Pia").replace("apples", "figs")
    copy = Problem("arithmetic/train/0", renamed, test.answer, "arithmetic", test.tags)
    training = Split("arithmetic", "train", (copy, *datasets.load(
        "arithmetic", "train", limit=3).problems), "", "")  # fmt: skip
    found = find(training, ["arithmetic"], Decontaminate(), limit=10)
    assert list(found.dropped) == ["arithmetic/train/0"]


def all_of_train(name: str, folder: Path) -> Split:
    parts = [datasets.load(name, split, path=folder) for split in ("train", "validation")]
    return Split(name, "train", tuple(p for part in parts for p in part.problems), "", "")


def test_math_has_three_pairs_that_differ_only_in_spacing_and_sentence_marks(
    real_data: Path,
) -> None:
    training = all_of_train("math", real_data)
    found = find(training, ["math/test"], Decontaminate(), path=real_data)
    exact = {(pair.train.id, pair.evaluation.id) for pair in found.pairs if pair.kind == "exact"}
    assert exact == {
        ("math/train/306", "math/test/260"),  # train/algebra/517, test/algebra/636
        ("math/train/3192", "math/test/4997"),  # train/geometry/6032, test/precalculus/24307
        ("math/train/1276", "math/test/2522"),  # a point within or behind the dollar sign
    }
    for pair in found.pairs:
        if pair.kind == "exact":
            assert pair.train.question != pair.evaluation.question
            assert pair.train.answer == pair.evaluation.answer
    # docs/decontamination.md says what the others are.
    assert found.counts("math/test") == {"exact": 3, "near": 40, "template": 508, "ngram": 510}


def test_gsm8k_shares_no_question(real_data: Path) -> None:
    found = find(all_of_train("gsm8k", real_data), ["gsm8k"], Decontaminate(), path=real_data)
    assert found.counts("gsm8k/test") == {"template": 3, "ngram": 1}
    assert not found.dropped
