"""Which questions a run learns from, and when it refuses what it has drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import dividing, questions
from reward_models.division import EmptyPart, Part
from tests.pipelines import toy


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


def held_out(folder: Path, data: Path, *more: str) -> set[str]:
    config = toy.config(folder, data, *more)
    division = dividing.division(config)
    problems = questions.training(config).problems
    return {p.id for p in problems if division.part(p.question) is Part.HELD_OUT}


def test_runs_of_another_seed_hold_out_other_questions(tmp_path: Path, data: Path) -> None:
    usual = held_out(tmp_path, data)
    assert held_out(tmp_path, data, "iterations=7") == usual
    assert held_out(tmp_path, data, "seed=1") != usual
    # The shares have an order: held out first.
    more = held_out(tmp_path, data, "reward_model.held_out=0.5", "reward_model.validation=0.05")
    assert usual < more


def test_questions_that_leave_a_part_empty_are_refused(tmp_path: Path, data: Path) -> None:
    config = toy.config(tmp_path, data)
    division = dividing.division(config)
    problems = questions.training(config).problems

    parts = {p.id: division.part(p.question) for p in problems}
    learned = [p for p in problems if parts[p.id] is Part.LABELS]
    both = [p for p in problems if parts[p.id] is not Part.VALIDATION]
    dividing.check(config, both)
    with pytest.raises(EmptyPart, match="falls to heldout"):
        dividing.check(config, learned)
    calibrated = toy.config(tmp_path, data, "reward_model.calibrate=temperature")
    dividing.check(calibrated, problems)
    with pytest.raises(EmptyPart, match="falls to validation"):
        dividing.check(calibrated, both)
