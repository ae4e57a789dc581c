"""Groups come back as they were credited, in any order of lines; what is broken is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipelines.credit import stored
from pipelines.credit.stored import CannotCompare
from tests.pipelines.credit.synthetic import group, write_rollouts, write_run


def test_groups_come_back_in_any_order_of_lines(tmp_path: Path) -> None:
    draw = random.Random(0)
    groups = {(step, f"task/{step}{name}"): None for step in (1, 2) for name in "ab"}
    made = {key: group(key[1], 4, draw) for key in groups}
    rows = [(step, rollout) for (step, _), members in made.items() for rollout in members]
    draw.shuffle(rows)
    read = stored.read(write_rollouts(tmp_path, 1, rows))
    assert [generation.step for generation in read] == [1, 2]
    for generation in read:
        for members in generation.groups:
            expected = made[(generation.step, members[0].problem_id)]
            assert sorted(members, key=lambda rollout: rollout.sample) == expected


def test_a_question_drawn_twice_in_a_step_is_two_groups(tmp_path: Path) -> None:
    draw = random.Random(0)
    twice = [group("task/0", 3, draw) for _ in range(2)]
    rows = [(1, rollout) for members in twice for rollout in members]
    (generation,) = stored.read(write_rollouts(tmp_path, 1, rows))
    assert [list(members) for members in generation.groups] == twice


def test_the_last_iteration_is_the_default(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=3)
    assert stored.file_of(run, None)[0] == 3
    assert stored.file_of(run, 2) == (2, run / "iterations/02/optimize/rollouts.jsonl")


def test_iterations_that_are_not_there_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=2)
    with pytest.raises(CannotCompare, match=r"no rollouts of iteration 7; it has those of 1, 2"):
        stored.file_of(run, 7)
    with pytest.raises(CannotCompare, match="no iteration has finished its policy phase"):
        stored.file_of(tmp_path, None)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"sample"', '"other"', "line 2: no 'sample' in it"),
        ('"step": 1', '"step": "x"', "line 2: no rollout: invalid literal"),
        ('"finish": "stop"', '"finish": "soon"', "line 2: no rollout: 'soon' is not a valid"),
        ('"rewards": [', '"rewards": [NaN, ', "line 2: no rollout: .* values"),
        ('"advantages": [', '"advantages": [0.5, ', r"line 2: \d advantages for \d step ends"),
        ("{", "[", r"line 2: not JSON \(Expecting"),
    ],
)
def test_the_broken_line_is_named(tmp_path: Path, old: str, new: str, expected: str) -> None:
    rows = [(1, rollout) for rollout in group("task/0", 3, random.Random(0))]
    file = write_rollouts(tmp_path, 1, rows)
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    assert old in lines[1]
    lines[1] = lines[1].replace(old, new, 1)
    file.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(CannotCompare, match=expected):
        stored.read(file)


def test_a_reward_that_is_no_number_is_refused(tmp_path: Path) -> None:
    rows = [(1, rollout) for rollout in group("task/0", 1, random.Random(0))]
    file = write_rollouts(tmp_path, 1, rows)
    value = rows[0][1].rewards.values[0]
    text = file.read_text(encoding="utf-8").replace(f'"rewards": [{value}', '"rewards": [NaN')
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CannotCompare, match="line 1: no rollout: a reward must be a finite number"):
        stored.read(file)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotCompare, match="is empty"):
        stored.read(write_rollouts(tmp_path, 1, []))
