"""Training questions: found out once a command, and taken over by the processes it launches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import questions
from pipelines.datasets import DataError
from tests.pipelines import toy


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(questions, "_found", {})
    yield
    questions._found_before.cache_clear()


def test_a_launched_process_keeps_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy.write_data(tmp_path / "data")
    train = data / "gsm8k" / "train.jsonl"
    rows = toy.lines(train)
    asked_too = toy.lines(data / "gsm8k" / "test.jsonl")[0]
    bad = {**rows[0], "question": "What is this?", "answer": "#### $$"}
    rows = [*rows, bad, asked_too]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = toy.config(tmp_path, data, "data.max_bad_golds=0.1")
    cleaned = questions.training(config)
    assert len(cleaned.problems) < len(rows) - 1
    found = json.loads(json.dumps(questions.as_found(config)))
    questions.take_over(found)

    def never(*_: object) -> object:
        raise AssertionError("found out again")

    monkeypatch.setattr(questions, "check_gold", never)
    monkeypatch.setattr(questions.decontamination, "find", never)
    taken = questions.training(config)
    assert taken.problems == cleaned.problems
    assert taken.fingerprint == cleaned.fingerprint
    assert questions.as_found(config) == found


def test_data_that_changed_meanwhile_is_refused(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    config = toy.config(tmp_path, data)
    questions.take_over(questions.as_found(config))
    with (data / "gsm8k" / "train.jsonl").open("a", encoding="utf-8") as rows:
        rows.write(json.dumps({"question": "And now?", "answer": "#### 2"}) + "\n")
    with pytest.raises(DataError, match="has changed since this command read it"):
        questions.training(config)


def test_questions_that_come_again_come_in_another_order(tmp_path: Path) -> None:
    problems = questions.training(toy.config(tmp_path, toy.write_data(tmp_path / "data"))).problems
    count = len(problems)
    drawn = questions.draw(problems, 2 * count, seed=0)
    assert drawn[:count] != drawn[count:]
    assert {it.id for it in drawn[:count]} == {it.id for it in drawn[count:]}


def test_a_limited_run_takes_a_subset_that_its_seed_chooses(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    one, other = (
        questions.training(toy.config(tmp_path, data, "data.limit=20", f"seed={seed}")).problems
        for seed in (0, 1)
    )
    assert len(one) == len(other) == 20
    assert {it.id for it in one} != {it.id for it in other}


def test_made_questions_are_taken_over_and_compared_with_those_that_will_be_asked(
    tmp_path: Path,
) -> None:
    more = ("data.name=arithmetic", "data.limit=30", "evaluate.limit=10")
    config = toy.config(tmp_path, tmp_path, *more, evaluate={"tasks": ["arithmetic/test"]})
    (compared,) = questions.contamination(config).compared
    assert compared.questions == 10
    kept = questions.training(config)
    questions.take_over(questions.as_found(config))
    assert questions.training(config) == kept


def test_what_is_taken_over_takes_the_place_of_what_was_before(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    config = toy.config(tmp_path, data)
    found = questions.as_found(config)
    for kept in (found["ids"], found["ids"][:5]):
        questions.take_over({**found, "ids": kept})
        assert [problem.id for problem in questions.training(config).problems] == kept
