"""Pictures show the run's numbers: what the figures hold is compared with the files' values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from pipelines.report import style
from pipelines.report.pictures import ALL, NothingToDraw, Picture
from pipelines.report.pictures.distance import to_initial
from pipelines.report.pictures.duration import duration, shares
from pipelines.report.run import Run, read
from tests.pipelines.report.synthetic_run import write_lines, write_run, write_under_way

BY_NAME = {picture.name: picture for picture in ALL}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read(write_run(tmp_path_factory.mktemp("runs") / "run", frozen=True))


def draw(picture: Picture, run: Run) -> Figure:
    return picture.draw(run, style.LIGHT)


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.axes[0].texts)


def test_accuracy_points_and_bars(run: Run) -> None:
    axes = draw(BY_NAME["accuracy"], run).axes[0]
    lines = [line for line in axes.lines if line.get_linestyle() == "-"]
    for line, task in zip(lines, run.tasks(), strict=True):
        expected = [row["evaluations"][task]["accuracy"] for row in run.iterations]
        assert list(line.get_ydata()) == pytest.approx(expected)
    bars = [segment for c in axes.collections for segment in c.get_segments()]
    wanted = {
        (round(e["low"], 9), round(e["high"], 9))
        for row in run.iterations
        for e in row["evaluations"].values()
    }
    assert {(round(s[0][1], 9), round(s[1][1], 9)) for s in bars} == wanted


def test_score_and_truth_are_running_means_of_the_steps(run: Run) -> None:
    axes = draw(BY_NAME["score_and_truth"], run).axes[0]
    drawn = [list(line.get_ydata()) for line in axes.lines if len(line.get_ydata()) == 80]
    for key in ("score", "verifier_accuracy"):
        values = [row[key] for row in run.steps]
        means = [np.mean(values[max(0, i - 3) : i + 1]) for i in range(80)]
        assert any(line == pytest.approx(values) for line in drawn)
        assert any(line == pytest.approx(means) for line in drawn)
    assert f"{np.mean([row['score'] for row in run.steps[-4:]]):.2f}" in texts(axes.figure)


def test_kl_to_the_reference_starts_again_with_each_iteration(run: Run) -> None:
    axes = draw(BY_NAME["kl"], run).axes[0]
    strong = [line for line in axes.lines if line.get_linewidth() == 1.9]
    assert sorted(len(line.get_ydata()) for line in strong) == [20, 20, 20, 20, 80]
    firsts = [line.get_ydata()[0] for line in strong if len(line.get_ydata()) == 20]
    assert firsts == pytest.approx([row["kl"] for row in run.steps if row["step"] == 1])


def test_kl_to_the_initial_policy_is_of_each_step_or_stands_at_the_iterations_ends(
    run: Run,
) -> None:
    assert to_initial(run).y == pytest.approx([row["kl_initial"] for row in run.steps])
    bare = [{k: v for k, v in row.items() if k != "kl_initial"} for row in run.steps]
    found = to_initial(replace(run, steps=bare))
    assert found.x == (20.0, 40.0, 60.0, 80.0)
    assert found.y == pytest.approx([row["kl_initial"] for row in run.iterations[1:]])


def test_the_gap_is_drawn_against_the_distance_by_quarters_of_iterations(run: Run) -> None:
    axes = draw(BY_NAME["gap_by_distance"], run).axes[0]
    paths = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(paths) == 4
    for place, line in enumerate(paths):
        rows = run.steps[20 * place : 20 * place + 20]
        for key, drawn in (("kl_initial", line.get_xdata()), ("gap", line.get_ydata())):
            means = [np.mean([row[key] for row in rows[5 * q : 5 * q + 5]]) for q in range(4)]
            assert list(drawn) == pytest.approx(means)
    assert [text.get_text() for text in axes.texts if len(text.get_text()) == 1] == list("1234")


def test_the_watch_is_marked_where_it_spoke(run: Run) -> None:
    axes = draw(BY_NAME["score_and_truth"], run).axes[0]
    marks = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [list(line.get_xdata()) for line in marks] == [[47.0, 47.0]]


def test_a_fixed_coefficient_is_no_picture(tmp_path: Path) -> None:
    rows = [{"iteration": 1, "step": step, "beta": 0.04} for step in (1, 2)]
    write_lines(tmp_path / "metrics" / "steps.jsonl", rows)
    assert reasons(read(tmp_path))["beta"] == "it is 0.04 throughout"


def test_judge_before_and_after(run: Run) -> None:
    shown = texts(draw(BY_NAME["reward_model_auroc"], run))
    last = run.iterations[-1]["reward_model"]
    assert f"retrained {last['auroc']:.3f}" in shown
    assert f"before {last['auroc_before']:.3f}" in shown
    assert f"past samples {last['auroc_frozen']:.3f}" in shown


def test_reliability_of_the_first_and_the_last_model(run: Run) -> None:
    axes = draw(BY_NAME["reward_model_reliability"], run).axes[0]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    for row in (run.iterations[1], run.iterations[-1]):
        bins = row["reward_model"]["reliability"]
        assert ([x for x, _, _ in bins], [y for _, y, _ in bins]) in drawn
    assert "iteration 1" in texts(axes.figure)
    assert "iteration 4" in texts(axes.figure)


def test_time_adds_up_and_optimize_is_divided(run: Run) -> None:
    found = shares(run)
    everything = sum(sum(row["seconds"].values()) for row in run.iterations)
    assert sum(found.values()) == pytest.approx(everything)
    assert found["optimize: generate"] == pytest.approx(4 * 3.0)
    assert found["optimize: other"] == pytest.approx(4 * 2.5)
    assert list(found)[:2] == ["sample", "label"]
    shown = texts(draw(BY_NAME["time"], run))
    assert f"{found['retrain'] / everything:.0%}" in shown


def test_time_of_an_unfinished_iteration_is_not_counted(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "run", finished=False))
    assert shares(run)["optimize: generate"] == pytest.approx(3 * 3.0)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (250.4, "4 min 10 s"),
        (3599.7, "1 h 00 min"),
        (7502, "2 h 05 min"),
    ],
)
def test_duration(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def reasons(run: Run) -> dict[str, str]:
    found = {}
    for picture in ALL:
        try:
            draw(picture, run)
        except NothingToDraw as nothing:
            found[picture.name] = str(nothing)
    return found


def test_nothing_yet_is_a_reason_for_each_picture(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    found = reasons(read(tmp_path))
    assert set(found) == set(BY_NAME)
    assert found["accuracy"] == "no evaluation has finished yet"
    assert found["kl"] == "the policy has made no optimizer step yet"


def test_verifier_reward_leaves_out_the_reward_model(tmp_path: Path) -> None:
    found = reasons(read(write_run(tmp_path / "run", reward="verifier")))
    assert set(found) == {
        "score_and_truth",
        "gap_by_distance",
        "disagreement",
        "policy_pairs",
        "reward_model_auroc",
        "reward_model_pairs",
        "reward_model_reliability",
    }
    assert all("verifier" in reason for reason in found.values())


def test_a_held_out_set_of_one_kind_is_said(tmp_path: Path) -> None:
    row = {"iteration": 1, "reward_model": {"auroc": None, "brier": 0.1}}
    write_lines(tmp_path / "metrics" / "iterations.jsonl", [row])
    assert "all right or all wrong" in reasons(read(tmp_path))["reward_model_auroc"]


def test_first_step_and_first_iteration_alone(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "run", iterations=1, steps=1))
    # One value of the coefficient cannot have moved.
    assert set(reasons(run)) == {"beta"}
    assert draw(BY_NAME["reward"], run).axes[0].lines[0].get_marker() == "o"


def test_one_step_an_output_is_no_picture(tmp_path: Path) -> None:
    row = {"iteration": 1, "step": 1, "steps_correct": 1.0, "steps_incorrect": 1.0}
    write_lines(tmp_path / "metrics" / "steps.jsonl", [row])
    assert reasons(read(tmp_path))["steps_per_output"] == "it is 1 throughout"


def test_measures_that_were_not_logged_are_named(tmp_path: Path) -> None:
    write_lines(tmp_path / "metrics" / "steps.jsonl", [{"iteration": 1, "step": 1, "reward": 0.5}])
    found = reasons(read(tmp_path))
    assert "reward" not in found
    assert found["kl"] == "no policy step has logged kl, and no evaluation kl_initial"


def test_an_iteration_under_way_is_drawn_as_far_as_it_has_come(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", iterations=1, steps=4)
    write_under_way(folder, 2, steps=3)
    found = read(folder)
    (line,) = draw(BY_NAME["reward_model_pairs"], found).axes[0].lines
    assert list(line.get_xydata()[-1]) == [2, 0.75]
    (reward,) = draw(BY_NAME["reward"], found).axes[0].lines[:1]
    assert list(reward.get_xdata()) == [1, 2, 3, 4, 5, 6, 7]
    # The watch's line of a finished phase is drawn before its policy is evaluated.
    watched = replace(found, under_way=[{"iteration": 2, "watch": {"step": 3, "reason": "far"}}])
    axes = draw(BY_NAME["score_and_truth"], watched).axes[0]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in dotted] == [7]
    bins = {"reward_model": {"reliability": [[0.1, 0.2, 30]]}}
    judged = replace(found, iterations=found.iterations[:1], under_way=[{"iteration": 1, **bins}])
    assert "iteration 1" in texts(draw(BY_NAME["reward_model_reliability"], judged))
