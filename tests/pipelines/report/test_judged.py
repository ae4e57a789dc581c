"""What the page says of each iteration's reward model: every figure below its own heading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.report import judged
from pipelines.report.run import Run
from pipelines.report.table import Table


def run_of(*reward_models: dict[str, Any] | None) -> Run:
    """Return a run whose iterations, from 0 on, have these figures of their reward models."""
    rows: list[dict[str, Any]] = [
        {"iteration": iteration} | ({} if found is None else {"reward_model": found})
        for iteration, found in enumerate(reward_models)
    ]
    return Run(Path("run"), {}, {}, [], rows, ())


MEASURED = {
    "auroc": 0.91,
    "auroc_frozen": 0.82,
    "pair_accuracy": 0.73,
    "rank_correlation": 0.64,
    "brier": 0.155,
    "ece": 0.046,
    "best_of_n": 0.8,
    "majority": 0.7,
    "pass_at_n": 0.9,
    "gain_low": 0.0,
    "gain_high": 0.105,
    "score_by_length": 0.25,
}

TRAINED = {
    "train_rows": 3000,
    "replay_share": 0.1,
    "replay_ages": {"1": 200, "2": 100},
    "positive_fresh": 0.6,
    "positive_replayed": 0.0,
    "kept_step": 60,
    "train_steps": 90,
    "promoted": True,
}


def columns(table: Table) -> dict[str, list[str]]:
    cells = zip(*table.rows, strict=True)
    return dict(zip(table.headings, map(list, cells), strict=True))


def test_every_measure_stands_below_its_heading() -> None:
    before = {
        f"{name}_before": MEASURED[name] - 0.01
        for name in ("auroc", "auroc_frozen", "pair_accuracy", "rank_correlation", "brier", "ece")
    }
    assert columns(judged.measured(run_of(None, MEASURED, MEASURED | before))) == {
        "iteration": ["1", "2"],
        "AUROC": ["0.910", "0.900 → 0.910"],
        "past samples": ["0.820", "0.810 → 0.820"],
        "pairs": ["0.730", "0.720 → 0.730"],
        "rank correlation": ["0.640", "0.630 → 0.640"],
        "Brier": ["0.155", "0.145 → 0.155"],
        "ECE": ["0.046", "0.036 → 0.046"],
        "best of 4": ["80.0%"] * 2,
        "majority": ["70.0%"] * 2,
        "pass@4": ["90.0%"] * 2,
        "gain over majority, 95%": ["+0.0% to +10.5%"] * 2,
        "score by length": ["+0.25"] * 2,
    }


def test_what_a_model_was_trained_on_and_became_stands_below_its_heading() -> None:
    untrained = TRAINED | {"kept_step": 0, "promoted": False, "replay_ages": {}}
    frozen = {"promoted": None, "positive_fresh": 0.5}
    assert columns(judged.trained(run_of(None, TRAINED, untrained, frozen))) == {
        "iteration": ["1", "2", "3"],
        "rows": ["3,000", "3,000", ""],
        "of history": ["10.0%", "10.0%", ""],
        "ages": ["1: 200, 2: 100", "", ""],
        "right, fresh": ["60.0%", "60.0%", "50.0%"],
        "right, replayed": ["0.0%", "0.0%", ""],
        "weights kept": ["of step 60 of 90", "those before training", ""],
        "decision": ["taken", "refused", ""],
    }


@pytest.mark.parametrize("table", [judged.measured, judged.trained])
def test_columns_without_any_value_and_iterations_without_a_model_are_left_out(table: Any) -> None:
    assert table(run_of(None, None)) == Table(("iteration",), ())
    some = {"auroc": 0.0, "kept_step": 5, "gain_low": 0.1, "promoted": True}
    found = columns(table(run_of(None, some, {"auroc": None}, None)))
    assert found.pop("iteration") == ["1", "2"]
    assert found in ({"AUROC": ["0.000", ""]}, {"decision": ["taken", ""]})


def test_reasons_are_told_of_refused_models_alone() -> None:
    reasons = {"refused_because": ["auroc went down", "failed probe: empty"]}
    run = run_of(None, {"promoted": True, **reasons}, {"promoted": False, **reasons}, reasons)
    assert judged.refusals(run) == [
        "Iteration 2: auroc went down",
        "Iteration 2: failed probe: empty",
    ]
    assert judged.refusals(run_of(None, {"promoted": False, "refused_because": "damaged"})) == []


def test_failed_probes_and_why_none_were_run_are_told() -> None:
    run = run_of(
        None,
        {"probes_failed": ["empty", "repeats"]},
        {"probes_failed": [], "probes_not_run": None},
        {"probes_not_run": "switched off"},
        {"probes_failed": ["words"], "probes_not_run": "switched off"},
    )
    assert judged.failures(run) == [
        "Iteration 1: empty, repeats",
        "Iteration 3: not probed: switched off",
        "Iteration 4: words",
    ]
