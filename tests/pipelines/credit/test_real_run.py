"""On a run that was really made: advantages come out as the policy was trained with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import credit, running
from tests.pipelines import toy


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["sum", "min"])
def test_the_runs_own_rule_gives_the_stored_advantages(tmp_path: Path, rule: str) -> None:
    data = toy.write_data(tmp_path / "data")
    changed = ["supervision=process", "iterations=1", f"credit={rule}", "optimize.scale=batch"]
    config = toy.config(tmp_path, data, *changed)
    running.run(config, quiet=True)
    done = credit.compare(config.run_dir, limit=1)
    summary = json.loads((done.folder / "bias.json").read_text(encoding="utf-8"))
    assert (summary["trained_with"], summary["notes"]) == (rule, [])
    assert summary["solutions"] == 4 * 4 * 4
    rows = [json.loads(line) for line in done.files[0].read_text(encoding="utf-8").splitlines()]
    assert any(len(row["ends"]) > 1 for row in rows), "nothing to compare under process supervision"
    for row in rows:
        assert row["advantages"][rule] == pytest.approx(row["stored"], abs=1e-9)
