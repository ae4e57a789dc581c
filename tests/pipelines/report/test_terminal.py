"""The summary at the end of a run, as a terminal of 80 columns shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import report
from pipelines.report import terminal
from pipelines.report.run import read
from pipelines.report.table import by_iteration, gap
from tests.pipelines.report.synthetic_run import write_run, write_under_way


def shown(run: Path, width: int = 80) -> str:
    return terminal.summary(read(run), width)


def test_table_is_whole_in_80_columns(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    lines = shown(run).splitlines()
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    table = read(run).iterations
    assert len(rows) == len(table)
    for row, cells in zip(table, rows, strict=True):
        assert cells[0] == str(row["iteration"])
        assert cells[1] == f"{row['evaluations']['arithmetic/validation']['accuracy']:.1%}"
        assert cells[-1] == "s"
    assert not [line for line in lines if "\N{HORIZONTAL ELLIPSIS}" in line]


def test_says_where_everything_lies(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=2)
    for iteration in ("01", "02"):
        (run / "iterations" / iteration / "optimize" / "policy").mkdir()
    text = shown(run, 200)
    assert str(run / "iterations" / "02" / "optimize" / "policy") in text
    assert str(run / "metrics") in text
    assert "report.html" not in text  # not written yet
    report.write(run)
    assert str(run / "report.html") in shown(run, 200)


def test_the_newest_policy_is_that_of_the_highest_number(tmp_path: Path) -> None:
    for name in ("02", "99", "100", "101.old"):
        (tmp_path / "iterations" / name / "optimize" / "policy").mkdir(parents=True)
    assert terminal.last_policy(tmp_path) == Path("iterations/100/optimize/policy")


def test_long_paths_are_not_cut(tmp_path: Path) -> None:
    run = write_run(tmp_path / ("long" * 30))
    assert str(run / "metrics") in shown(run).replace("\n", "")


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    text = report.summary(write_run(tmp_path / "run", iterations=1))
    assert "\x1b" not in text
    assert str(tmp_path / "run" / "metrics") in text


def test_says_how_far_an_iteration_under_way_has_come(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=1, steps=9)
    assert "in progress" not in shown(run)
    write_under_way(run, 2, steps=4)
    text = shown(run)
    assert "iteration 2: in progress, 4 of 9 steps" in text
    row = next(line.split() for line in text.splitlines() if line.split()[:1] == ["2"])
    assert row[2:] == ["0.875", "0.750", "15", "s"]


def test_before_the_first_evaluation(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    assert "No evaluation has finished yet." in shown(tmp_path)


def test_names_from_files_cannot_drive_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    row = {"iteration": 0, "evaluations": {"[red]\x1b[2Jtask": {"correct": 1, "n": 2}}}
    (tmp_path / "metrics" / "iterations.jsonl").write_text(json.dumps(row) + "\n")
    text = shown(tmp_path)
    assert "\x1b" not in text
    assert "[red]" in text


def test_gap_is_the_mean_of_the_last_steps(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "run", iterations=2, steps=9, frozen=True))
    last = [row for row in run.steps if row["iteration"] == 2][4:]
    expected = sum(row["score"] - row["verifier_accuracy"] for row in last) / 5
    assert gap(run, 2) == pytest.approx(expected)
    assert gap(run, 0) is None
    assert f"{expected:+.3f}" in by_iteration(run).rows[2]


def test_columns_without_values_are_left_out(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "run", reward="verifier"))
    assert by_iteration(run).headings == (
        "iteration",
        "arithmetic/validation",
        "arithmetic/test",
        "KL to initial",
        "time",
    )
