"""Commands beside `run` and `evaluate`: verify, report, configs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import cli


def test_verify_writes_verdicts_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.jsonl"
    rows = [
        {"response": r"so \boxed{\frac{1}{2}}", "answer": "0.5"},
        {"response": r"so \boxed{3}", "answer": "0.5"},
        {"response": "I do not know", "answer": "0.5"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert cli.main(["verify", str(file)]) == cli.DONE
    written = (tmp_path / "answers.verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = [json.loads(line)["outcome"].lower() for line in written]
    assert outcomes == ["correct", "incorrect", "no_answer"]
    capsys.readouterr()
    assert cli.main(["verify", str(file)]) == cli.REFUSED
    assert "answers.verdicts.jsonl" in capsys.readouterr().err


def test_report_refuses_a_folder_that_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path)]) == cli.REFUSED
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_configs_lists_what_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["configs"]) == cli.DONE
    printed = capsys.readouterr().out
    for name in ("arithmetic", "gsm8k_tiny", "gsm8k_outcome", "gsm8k_process", "math_process"):
        assert name in printed
