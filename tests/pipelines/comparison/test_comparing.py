"""Pairs, differences and refusals; and four real models on GSM8K's test questions."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from scipy import stats

from pipelines.comparison.answers import read
from pipelines.comparison.comparing import Comparison, NotComparable, TaskComparison, compare
from tests.pipelines.comparison.folders import outcomes, row, write

RIGHT, WRONG, NONE = "correct", "incorrect", "no_answer"


def compared(tmp_path: Path, *, common: bool = False) -> Comparison:
    return compare(read(tmp_path / "a"), read(tmp_path / "b"), common=common)


def only(found: Comparison) -> TaskComparison:
    (task,) = found.tasks
    return task


def test_questions_are_paired_whatever_their_order(tmp_path: Path) -> None:
    write(tmp_path / "a", outcomes(RIGHT, RIGHT, WRONG, NONE, RIGHT))
    write(tmp_path / "b", outcomes(RIGHT, WRONG, RIGHT, RIGHT, RIGHT)[::-1])
    task = only(compared(tmp_path))
    assert task.correct is not None
    assert (task.correct.gained, task.correct.lost, task.correct.p) == (2, 1, 1.0)
    (greedy,) = task.accuracies
    assert (greedy.first, greedy.second) == (0.6, 0.8)
    assert greedy.difference.value == pytest.approx(0.2)
    assert greedy.difference.low <= 0 <= greedy.difference.high
    assert [(it.id, it.gained) for it in task.switched] == [
        ("gsm8k/test/2", True),
        ("gsm8k/test/3", True),
        ("gsm8k/test/1", False),
    ]
    assert task.switched[1].first.outcome == NONE
    assert task.switched[1].second.extracted == task.switched[1].gold == "3"


def test_what_became_of_answers_is_paired_too(tmp_path: Path) -> None:
    cut = [row(number, NONE, finish="length") for number in range(4)]
    write(tmp_path / "a", cut)
    write(tmp_path / "b", [*outcomes(RIGHT, "unparsed", WRONG), cut[3]])
    fates = {it.name: it for it in only(compared(tmp_path)).fates}
    assert (fates["no answer"].first, fates["no answer"].second) == (4, 1)
    assert (fates["truncated"].gained, fates["truncated"].lost) == (0, 3)
    assert fates["truncated"].p == pytest.approx(stats.binomtest(0, 3).pvalue)
    assert (fates["unparsed"].first, fates["unparsed"].second) == (0, 1)
    assert (fates["incorrect"].first, fates["incorrect"].second) == (0, 1)


def test_answers_that_took_too_long_are_a_kind_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "a", outcomes("timeout", "timeout", WRONG))
    write(tmp_path / "b", outcomes(RIGHT, "timeout", RIGHT))
    fates = {it.name: (it.first, it.second) for it in only(compared(tmp_path)).fates}
    assert fates == {
        "incorrect": (1, 0), "no answer": (0, 0), "unparsed": (0, 0),
        "timeout": (2, 1), "truncated": (0, 0),
    }  # fmt: skip


def test_samples_of_one_side_alone_are_not_compared(tmp_path: Path) -> None:
    write(tmp_path / "a", outcomes(RIGHT, WRONG))
    write(tmp_path / "b", [row(n, RIGHT, s) for n in range(2) for s in range(3)])
    for first, second in (("a", "b"), ("b", "a")):
        task = only(compare(read(tmp_path / first), read(tmp_path / second)))
        assert [it.answers for it in task.accuracies] == ["greedy"]
        assert "A and B have different numbers of samples of a question" in task.notes


def test_samples_are_averaged_for_each_question_and_greedy_answers_are_not_among_them(
    tmp_path: Path,
) -> None:
    first = [row(n, RIGHT if s <= n else WRONG, s) for n in range(3) for s in range(5)]
    second = [row(n, RIGHT, s) for n in range(3) for s in range(3)]
    write(tmp_path / "a", first)
    write(tmp_path / "b", second, samples={"temperature": 0.7})
    task = only(compared(tmp_path))
    greedy, sampled = task.accuracies
    assert (greedy.first, greedy.second) == (1.0, 1.0)
    # Of samples 1 to 4, question n has its first n right.
    assert sampled.first == pytest.approx((0 + 0.25 + 0.5) / 3)
    assert sampled.difference.value == pytest.approx((1 + 0.75 + 0.5) / 3)
    assert task.notes == (
        "temperature is not stated in A and 0.7 in B",
        "A and B have different numbers of samples of a question",
    )


def test_what_else_the_answers_depend_on_is_noted(tmp_path: Path) -> None:
    rows = [row(0, RIGHT, s) for s in range(2)]
    for name, stop, verifier, top_p in (("a", [], "gsm8k", 1.0), ("b", ["Q:"], "math", 0.9)):
        write(tmp_path / name, rows, stop=stop, verifier=verifier, samples={"top_p": top_p})
    assert only(compared(tmp_path)).notes == (
        "stop is [] in A and ['Q:'] in B",
        "top_p is 1.0 in A and 0.9 in B",
        "verifier is gsm8k in A and math in B",
    )


def test_other_questions_are_refused_with_counts_and_compared_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "a", outcomes(RIGHT, RIGHT, WRONG))
    write(tmp_path / "b", outcomes(WRONG, RIGHT), fingerprint="e" * 64)
    with pytest.raises(NotComparable, match=r"data ffff.* eeee.*3 in A, 2 in B, 2 in both.*common"):
        compared(tmp_path)
    with pytest.raises(NotComparable, match=r"2 in A, 3 in B, 2 in both"):
        compare(read(tmp_path / "b"), read(tmp_path / "a"))
    task = only(compared(tmp_path, common=True))
    assert (task.questions, task.only_first, task.only_second) == (2, 1, 0)
    assert task.correct is not None
    assert (task.correct.gained, task.correct.lost) == (0, 1)


@pytest.mark.parametrize("key", ["question", "answer"])
def test_the_same_ids_with_another_text_or_gold_are_other_questions(
    key: str, tmp_path: Path
) -> None:
    write(tmp_path / "a", outcomes(RIGHT))
    write(tmp_path / "b", [row(0, RIGHT, **{key: "another"})])
    with pytest.raises(NotComparable, match="1 in A, 1 in B, 0 in both"):
        compared(tmp_path, common=True)


def test_twins_in_a_set_stay_apart(tmp_path: Path) -> None:
    twin = {**row(1, WRONG), "problem_id": "gsm8k/test/9"}
    write(tmp_path / "a", [row(1, RIGHT), twin])
    write(tmp_path / "b", [row(1, RIGHT), {**twin, "outcome": RIGHT}])
    task = only(compared(tmp_path))
    assert task.questions == 2
    assert [it.id for it in task.switched] == ["gsm8k/test/9"]


def test_tasks_of_one_side_are_named_and_none_in_common_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", outcomes(RIGHT))
    write(tmp_path / "a", outcomes(WRONG), task="svamp/test")
    write(tmp_path / "b", outcomes(RIGHT), prompt="chat", max_tokens=128)
    found = compared(tmp_path)
    assert found.notes == ("svamp/test was evaluated in A only",)
    assert only(found).notes == (
        "max_tokens is 64 in A and 128 in B",
        "prompt is plain in A and chat in B",
    )
    write(tmp_path / "c", outcomes(RIGHT), task="math/test")
    with pytest.raises(NotComparable, match=r"no task in common: .*gsm8k/test, svamp/test.*math"):
        compare(read(tmp_path / "a"), read(tmp_path / "c"))


def test_four_models_on_gsm8k(tmp_path: Path, real_data: Path) -> None:
    """Labelled solutions of real models: gains and losses counted by hand, tested by scipy."""
    file = real_data / "gsm8k_model_solutions" / "solutions.jsonl"
    solutions = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    right: dict[str, dict[int, bool]] = {}
    for it in solutions:
        right.setdefault(it["model"], {})[it["test_index"]] = it["is_correct"]
    for model in right:
        rows = [
            row(it["test_index"], RIGHT if it["is_correct"] else WRONG)
            for it in solutions
            if it["model"] == model
        ]
        write(tmp_path / model, rows)
    for first, second in itertools.combinations(right, 2):
        task = only(compare(read(tmp_path / first), read(tmp_path / second)))
        (greedy,) = task.accuracies
        assert greedy.first == sum(right[first].values()) / 1_319
        pairs = [(right[first][n], right[second][n]) for n in right[first]]
        gained, lost = pairs.count((False, True)), pairs.count((True, False))
        assert task.correct is not None
        assert (task.correct.gained, task.correct.lost) == (gained, lost)
        expected = stats.binomtest(gained, gained + lost).pvalue
        assert task.correct.p == pytest.approx(expected, rel=1e-9)
        assert len(task.switched) == gained + lost
        # Hard for one model is hard for the other: pairing narrows the interval.
        alone = stats.norm.ppf(0.975) * sum(
            share * (1 - share) / 1_319 for share in (greedy.first, greedy.second)
        ) ** 0.5  # fmt: skip
        assert greedy.difference.half_width < alone
