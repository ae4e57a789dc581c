"""Where the time went, against sums over the run's own rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.report import page, spent, terminal
from pipelines.report.pictures.duration import shares
from pipelines.report.run import Run, read
from tests.pipelines.report.synthetic_run import write_lines, write_run, write_under_way


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read(write_run(tmp_path_factory.mktemp("runs") / "run"))


def test_parts_over_the_whole_run(run: Run) -> None:
    # Each of four iterations: 9 s of sampling (66,000 tokens), 3 s in a step's parts (56,000).
    found = {row[0]: row[1:] for row in spent.by_part(run).rows}
    whole = sum(sum(row["seconds"].values()) for row in run.iterations)
    generated = 4 * (8.7 + 3.0) + 5 * 2.9
    assert found["generate"][1] == f"{generated / whole:.1%}"
    assert found["generate"][2] == f"{4 * (66_000 + 56_000) / (4 * (8.7 + 3.0)):,.0f}"
    assert list(found) == ["generate", "label", "forward-backward", "input/output", "other"]


def test_phases_by_part(run: Run) -> None:
    table = spent.by_phase(run)
    assert table.headings[:3] == ("phase", "generate", "label")
    assert [row[0] for row in table.rows] == ["sample", "label", "retrain", "optimize", "evaluate"]
    assert table.rows[0][1] == "35 s"
    assert table.rows[1][1] == ""


def test_finished_phases_of_an_iteration_under_way_count(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", iterations=1)
    before = read(folder)
    write_under_way(folder, 2, steps=3)
    run = read(folder)
    retrain = {row[0]: row[1:] for row in spent.by_phase(run).rows}["retrain"]
    assert "29 s" in retrain  # 14 s of iteration 1, and 15 s
    assert sum(shares(run).values()) == pytest.approx(sum(shares(before).values()) + 15)
    # It is no whole iteration yet, of which anything could be a share.
    assert spent.outside(run) == spent.outside(before)


def test_outside_is_the_median_of_later_iterations(tmp_path: Path) -> None:
    rows = [
        {"iteration": i, "time": {"outside": {"share": share}}}
        for i, share in enumerate((0.9, 0.2, 0.01, 0.02, 0.05))
    ]
    write_lines(tmp_path / "metrics" / "iterations.jsonl", rows)
    assert spent.outside(read(tmp_path)) == 0.02
    write_lines(tmp_path / "metrics" / "iterations.jsonl", rows[:2])
    assert spent.outside(read(tmp_path)) == 0.2
    write_lines(tmp_path / "metrics" / "iterations.jsonl", rows[:1])
    assert spent.outside(read(tmp_path)) is None


def test_terminal_and_page_show_it(run: Run) -> None:
    text = terminal.summary(run, 80)
    assert "where the time went" in text
    assert "forward-backward" in text
    html = page.render(run, [], [])
    assert "<h2>Where the time went</h2>" in html
    assert f"{spent.outside(run):.1%} of an iteration" in html
    assert f"{spent.outside(run):.1%} of an iteration" in text


def test_a_run_that_kept_no_times_shows_none(tmp_path: Path) -> None:
    write_lines(tmp_path / "metrics" / "iterations.jsonl", [{"iteration": 0, "seconds": {"a": 1}}])
    run = read(tmp_path)
    assert spent.by_part(run).rows == ()
    assert "where the time went" not in terminal.summary(run, 80)
    assert "Where the time went" not in page.render(run, [], [])
