"""Every rule on the stored rewards: the run's own rule gives what the run stored."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from iterative_grpo import plugins
from pipelines.credit.comparison import RULES, compare
from pipelines.credit.stored import CannotCompare
from pipelines.report.run import NoRun, read
from tests.pipelines.credit.synthetic import group, write_rollouts, write_run


def settings(run: Path, **changed: object) -> None:
    file = run / "config.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8")) | changed
    file.write_text(yaml.safe_dump(values), encoding="utf-8")


def test_the_runs_rule_gives_what_was_stored(tmp_path: Path) -> None:
    found = compare(read(write_run(tmp_path / "run")), 1)
    assert found.rules == tuple(plugins.names(RULES))
    assert {"clip", "delta", "first_error", "min", "outcome", "sum"} <= set(found.rules)
    assert found.trained_with == "sum"
    assert found.notes == ()
    assert len(found.solutions) == 16
    for solution in found.solutions:
        assert solution.advantages["sum"] == pytest.approx(solution.rollout.advantages, abs=1e-12)
        for values in solution.advantages.values():
            assert len(values) == len(solution.rollout.rewards.ends)


def test_rules_are_compared_within_the_group(tmp_path: Path) -> None:
    """Against two groups computed by hand, of one step each."""
    run = write_run(tmp_path / "run")
    found = compare(read(run), 2)
    for problem in {s.rollout.problem_id for s in found.solutions}:
        members = [s for s in found.solutions if s.rollout.problem_id == problem]
        last = [s.rollout.rewards.values[-1] for s in members]
        mean = sum(last) / len(last)
        std = (sum((v - mean) ** 2 for v in last) / (len(last) - 1)) ** 0.5
        for solution, value in zip(members, last, strict=True):
            expected = (value - mean) / (std + 1e-4)
            assert solution.advantages["outcome"][0] == pytest.approx(expected)


def test_the_runs_rule_has_its_options_and_a_broken_one_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iterative_grpo import advantages

    (tmp_path / "halved.py").write_text("Rule = None", encoding="utf-8")
    monkeypatch.setattr(advantages, "__path__", [*advantages.__path__, str(tmp_path)])
    run = write_run(tmp_path / "run")
    settings(run, credit="first_error", credit_options={"threshold": 2.0})
    found = compare(read(run))
    assert "halved" not in found.rules
    assert any("left out: credit rule halved: TypeError" in note for note in found.notes)
    for name, credits in (("flat", "[0.0 for _ in rewards[0]]"), ("late", "1 / 0")):
        source = (
            f"class Rule:\n    def credit(self, rewards, normalize):\n        return {credits}\n"
        )
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    more = compare(read(run))
    assert more.rules == found.rules
    assert more.solutions == found.solutions
    left = [note for note in more.notes if note.startswith("left out: credit rule")]
    assert [note.split(": ")[1:3] for note in left] == [
        ["credit rule halved", "TypeError"],
        ["credit rule flat", "TypeError"],
        ["credit rule late", "ZeroDivisionError"],
    ]
    # No score is 2 or more, so that the first step is everybody's first error.
    plain = write_run(tmp_path / "plain")
    settings(plain, credit="first_error")
    one, other = (
        [s.advantages["first_error"] for s in compare(read(it)).solutions] for it in (run, plain)
    )
    assert one != other


def test_settings_that_changed_since_are_noted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    settings(run, optimize={"group_size": 4, "scale": "none"})
    (note,) = compare(read(run)).notes
    assert "sum gives other advantages than those stored" in note


@pytest.mark.parametrize(
    ("scale", "error", "noted"), [(1.0, 1e-3, True), (1.0, 1e-8, False), (1e-3, 1e-4, False)]
)
def test_advantages_that_differ_by_more_than_rounding_are_noted(
    scale: float, error: float, noted: bool, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run")
    settings(run, optimize={"group_size": 4, "scale": "none"})
    rows = []
    for rollout in group("task/9", 4, random.Random(5), scale="none"):
        values = tuple(scale * value for value in rollout.rewards.values)
        stored = tuple(scale * value * (1 + error) for value in rollout.advantages)
        rewards = replace(rollout.rewards, values=values)
        rows.append((1, replace(rollout, rewards=rewards, advantages=stored)))
    write_rollouts(run, 3, rows)
    assert bool(compare(read(run), 3).notes) == noted


def test_the_runs_normalisation_is_used(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    settings(run, optimize={"group_size": 4, "scale": "none"})
    draw = random.Random(5)
    rows = [(1, rollout) for rollout in group("task/9", 4, draw, scale="none")]
    write_rollouts(run, 3, rows)
    assert compare(read(run), 3).notes == ()
    settings(run, optimize={"group_size": 4, "std_floor": 9.0})
    silenced = compare(read(run), 3).solutions
    assert {value for s in silenced for value in s.advantages["delta"]} == {0.0}


def test_one_step_solutions_are_noted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    members = [r for r in group("task/9", 40, random.Random(0)) if len(r.rewards.ends) == 1]
    assert len(members) > 2
    write_rollouts(run, 3, [(1, rollout) for rollout in members])
    notes = compare(read(run), 3).notes
    assert any("every solution is one step" in note for note in notes)
    assert any("1 groups have another number of outputs" in note for note in notes)


def test_an_unknown_rule_of_the_run_is_no_obstacle(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    settings(run, credit="gone-since")
    assert compare(read(run)).trained_with is None


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    settings(run, optimize={"scale": "sideways"})
    with pytest.raises(
        CannotCompare, match=r"optimize\.scale 'sideways'; expected group, batch or"
    ):
        compare(read(run))
    settings(run, optimize={"std_floor": "low"})
    with pytest.raises(CannotCompare, match=r"optimize\.std_floor 'low'; expected a number"):
        compare(read(run))
    with pytest.raises(CannotCompare, match="-1; expected 0 or more"):
        compare(read(run), limit=-1)
    with pytest.raises(NoRun):
        read(tmp_path / "nothing")
