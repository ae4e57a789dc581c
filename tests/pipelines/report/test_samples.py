"""Which solutions are shown, and how they are cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.report import samples
from tests.pipelines.report.synthetic_run import write_lines, write_run


def rollout(problem: str, correct: bool | None, rewards: list[float]) -> dict[str, object]:
    text = "1+1=2\n#### 2"
    return {
        "problem_id": problem,
        "step": 3,
        "correct": correct,
        "text": text,
        "ends": [6, 12][-len(rewards) :],
        "rewards": rewards,
    }


def cells(path: Path, rows: list[dict[str, object]]) -> dict[str, samples.Cell]:
    write_lines(path / "iterations" / "01" / "optimize" / "rollouts.jsonl", rows)
    return {cell.heading: cell for cell in samples.cells(path, 1)}


def test_four_cells_of_reward_against_verdict(tmp_path: Path) -> None:
    found = cells(
        tmp_path,
        [
            rollout("gamed", False, [0.8, 0.9]),
            rollout("missed", True, [0.1]),
            rollout("good", True, [0.9]),
            rollout("bad", False, [0.2]),
            rollout("unverified", None, [0.2]),
        ],
    )
    assert {name: [s.problem_id for s in cell.samples] for name, cell in found.items()} == {
        "Wrong, yet rewarded": ["gamed"],
        "Right, yet not rewarded": ["missed"],
        "Right and rewarded": ["good"],
        "Wrong and not rewarded": ["bad"],
        "Not verified": ["unverified"],
    }
    assert found["Wrong, yet rewarded"].samples[0].score == pytest.approx(0.85)


def test_most_telling_first_and_problems_vary(tmp_path: Path) -> None:
    rows = [rollout("a", False, [0.9 - i / 100]) for i in range(6)]
    rows += [rollout("b", False, [0.6])]
    cell = cells(tmp_path, rows)["Wrong, yet rewarded"]
    assert [s.problem_id for s in cell.samples] == ["a", "b", "a", "a"]
    assert cell.samples[0].score == pytest.approx(0.9)
    assert cell.count == 7


def test_steps_are_cut_at_their_ends(tmp_path: Path) -> None:
    sample = cells(tmp_path, [rollout("a", True, [0.7, 0.9])])["Right and rewarded"].samples[0]
    assert [(step.text, step.reward) for step in sample.steps] == [
        ("1+1=2\n", 0.7),
        ("#### 2", 0.9),
    ]
    assert sample.policy_step == 3


def test_wrong_arithmetic_is_found_step_by_step() -> None:
    def sample(*texts: str) -> samples.Sample:
        return samples.Sample("p", "", "", False, tuple(samples.Step(t, 0.5) for t in texts), 1)

    assert samples.faults(sample("18+5=23\n", "2*4=6\n", "#### 29")) == ["", "8 is not 6", ""]
    assert samples.faults(sample("")) == [""]
    assert samples.faults(sample("1+1=3", "x" * samples.LIMIT)) == ["", ""]
    assert samples.faults(sample()) == []


@pytest.mark.parametrize("ends", [[6, 99], [12, 6], ["6", 12], [6], None, 7, [True, 12.5]])
def test_ends_that_are_no_cut_leave_the_text_whole(tmp_path: Path, ends: object) -> None:
    row = rollout("a", True, [0.7, 0.9]) | {"ends": ends}
    sample = cells(tmp_path, [row])["Right and rewarded"].samples[0]
    assert [step.text for step in sample.steps] == ["1+1=2\n#### 2"]


def test_only_the_end_of_a_long_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [rollout(f"p{i:03d}", True, [0.9]) for i in range(100)]
    monkeypatch.setattr(samples, "TAIL_BYTES", 1000)
    cell = cells(tmp_path, rows)["Right and rewarded"]
    assert 3 <= cell.count <= 9
    assert "p099" in {s.problem_id for s in cell.samples}


def test_questions_are_found_by_their_ids(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    sample = samples.cells(run, 1)[0].samples[0]
    assert sample.question.startswith("Ann has 18 coins.")
    assert sample.answer == "31"


def test_many_iterations_show_the_first_and_the_last_ones(tmp_path: Path) -> None:
    for i in (1, 2, 3, 4, 5, 6, 7, 11):
        write_lines(tmp_path / "iterations" / f"{i:02d}" / "optimize" / "rollouts.jsonl", [])
    assert samples.iterations_with_rollouts(tmp_path) == [1, 4, 5, 6, 7, 11]
    assert samples.iterations_with_rollouts(tmp_path / "absent") == []
    assert samples.cells(tmp_path, 1) == []
