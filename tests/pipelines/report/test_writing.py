"""Files of a report: whole or not at all, and none that contradicts the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import report
from pipelines.report.run import NoRun
from pipelines.report.writing import replace
from tests.pipelines.report.synthetic_run import write_run


def test_writes_pictures_page_and_nothing_else(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=2, steps=3, reward="verifier")
    stale = run / "metrics" / "score_and_truth.png"
    stale.write_bytes(b"of an earlier state")
    before = {path for path in run.rglob("*") if path != stale}
    files = report.write(run)
    after = set(run.rglob("*"))
    assert after - before == {files.page, *files.pictures}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files.pictures)
    assert [line.partition(":")[0] for line in files.left_out] == [
        "score_and_truth",
        "gap_by_distance",
        "disagreement",
        "policy_pairs",
        "reward_model_auroc",
        "reward_model_pairs",
        "reward_model_reliability",
    ]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "page"
    target.write_bytes(b"old")
    with pytest.raises(TypeError):
        replace(target, "not bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(NoRun):
        report.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
