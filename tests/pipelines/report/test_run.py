"""Reading runs that are whole, partial, killed, or no run at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.report.run import NoRun, accuracy, damage, number, read
from tests.pipelines.report.synthetic_run import (
    write_lines,
    write_phase,
    write_run,
    write_under_way,
)


def test_reads_what_was_written(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "run", iterations=3, steps=4))
    assert len(run.steps) == 12
    assert [row["iteration"] for row in run.iterations] == [0, 1, 2, 3]
    assert run.setting("optimize.steps") == 4
    assert run.setting("optimize.nothing", "none") == "none"
    assert run.setting("seed.deeper") is None
    assert run.tasks() == ["arithmetic/validation", "arithmetic/test"]
    assert run.notes == ()


def test_a_run_that_just_began(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"seed": 0}')
    run = read(tmp_path)
    assert (list(run.steps), list(run.iterations), run.about) == ([], [], {"seed": 0})


def test_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(NoRun, match="no run directory"):
        read(tmp_path)
    with pytest.raises(NoRun, match="no such folder"):
        read(tmp_path / "absent")


def test_half_written_last_line_is_left_out_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "metrics" / "steps.jsonl"
    write_lines(file, [{"iteration": 1, "step": 1}])
    with file.open("a") as out:
        out.write('{"iteration": 1, "st')
    run = read(tmp_path)
    assert len(run.steps) == 1
    assert run.notes == ()


def test_steps_of_a_phase_at_work_follow_those_of_finished_ones(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=1, steps=4)
    write_under_way(run, 2, steps=3)
    found = read(run)
    at = [(row["global_step"], row["iteration"], row["step"]) for row in found.steps]
    assert at == [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 2, 1), (6, 2, 2), (7, 2, 3)]
    assert found.progress() == ["iteration 2: in progress, 3 of 4 steps"]
    assert found.notes == ()
    # A phase that was finished since metrics/ was written is read where it lies then.
    phase = run / "iterations" / "02" / "optimize"
    phase.with_name("optimize.partial").rename(phase)
    assert [row["global_step"] for row in read(run).steps] == [1, 2, 3, 4, 5, 6, 7]


def test_finished_phases_of_an_iteration_under_way_are_read(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=1)
    write_under_way(run, 2, steps=0)
    found = read(run)
    (row,) = found.under_way
    assert (row["reward_model"]["auroc"], row["seconds"]) == (0.875, {"retrain": 15.0})
    assert found.begun == [*found.iterations, row]
    assert [it["iteration"] for it in found.iterations] == [0, 1]
    assert found.progress() == ["iteration 2: in progress"]
    (run / "iterations/02/retrain/diagnostics.json").write_text("{", encoding="utf-8")
    broken = read(run)
    assert broken.under_way == []
    assert "diagnostics.json is damaged" in broken.notes[0]


def test_nothing_of_an_evaluated_iteration_is_under_way(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=2, steps=3)
    assert read(run).progress() == []
    write_phase(run / "iterations" / "03" / "evaluate", 1.0)
    assert list(read(run).under_way) == []


def test_broken_lines_are_named(tmp_path: Path) -> None:
    file = tmp_path / "metrics" / "steps.jsonl"
    file.parent.mkdir()
    file.write_bytes(b'{"iteration": 1, "step": 1}\n[1]\n\xff\xfe\n{"iteration": 1, "step": 2}\n')
    run = read(tmp_path)
    assert [row["step"] for row in run.steps] == [1, 2]
    assert run.notes == (
        "steps.jsonl, line 2: no JSON object; left out",
        "steps.jsonl, line 3: no JSON object; left out",
    )


def test_broken_settings_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("seed: [1, ")
    (tmp_path / "run.json").write_text("[]")
    run = read(tmp_path)
    assert run.configuration == {}
    assert run.notes == ("config.yaml: cannot be read", "run.json: expected keys and values")


def test_a_step_done_twice_counts_once_and_the_last_one_stays(tmp_path: Path) -> None:
    rows = [
        {"iteration": 1, "step": 2, "reward": 0.1},
        {"iteration": 1, "step": 1, "reward": 0.2},
        {"iteration": 1, "step": 2, "reward": 0.3},
        {"reward": 9.0},
    ]
    write_lines(tmp_path / "metrics" / "steps.jsonl", rows)
    assert [row["reward"] for row in read(tmp_path).steps] == [0.2, 0.3]


@pytest.mark.parametrize("value", [None, "0.5", True, float("nan"), float("inf"), [1]])
def test_number_takes_finite_numbers_only(value: object) -> None:
    assert number({"key": value}, "key") is None


def test_accuracy_uses_stated_interval_or_wilsons() -> None:
    stated = accuracy({"evaluations": {"t": {"accuracy": 0.5, "low": 0.4, "high": 0.7}}}, "t")
    assert stated is not None
    assert (stated.value, stated.low, stated.high) == (0.5, 0.4, 0.7)
    counted = accuracy({"evaluations": {"t": {"correct": 5, "n": 10}}}, "t")
    assert counted is not None
    assert counted.low == pytest.approx(0.2366, abs=1e-4)  # Newcombe 1998, method 3
    assert accuracy({"evaluations": {"t": {"correct": 5, "n": 0}}}, "t") is None
    assert accuracy({}, "t") is None


def test_what_has_changed_since_it_was_written_is_told(tmp_path: Path) -> None:
    for name in ("start", "iterations/01/label", "iterations/01/evaluate"):
        folder = artifacts.start(tmp_path / name)
        (folder / "rows.jsonl").write_text("{}\n", encoding="utf-8")
        (folder / artifacts.LOG).mkdir()
        (folder / artifacts.LOG / "time.json").write_text("{}", encoding="utf-8")
        artifacts.finish(tmp_path / name, "phase", {}, {}, dict)
    (tmp_path / "iterations" / "01" / "optimize.partial").mkdir()
    assert list(damage(tmp_path)) == []
    (tmp_path / "start" / "rows.jsonl").unlink()
    (tmp_path / "iterations/01/label/log/time.json").write_text("", encoding="utf-8")
    (tmp_path / "iterations/01/evaluate/manifest.json").unlink()
    assert list(damage(tmp_path)) == [
        "iterations/01/evaluate: its manifest.json is missing or damaged, and the phase may be "
        "left out",
        "iterations/01/label: missing or changed since it was written: log/time.json",
        "start: missing or changed since it was written: rows.jsonl",
    ]
