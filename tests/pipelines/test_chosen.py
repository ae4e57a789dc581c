"""Plug-ins of one's own, outside of the packages, and what a run records of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import chosen
from pipelines.runs import Run
from tests.pipelines import toy

RULE = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Rule:
    def credit(self, rewards_PGS, normalize):
        return [[[0.0] * len(steps) for steps in group] for group in rewards_PGS]
"""

CONVENTION = """
from verifiers.extraction import NOTHING, Extracted

def extract(text):
    return Extracted(text[8:-9], "marker") if text.startswith("<answer>") else NOTHING
"""


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ITERATIVE_GRPO_PLUGINS": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_a_folder_of_ones_own_adds_to_ours(tmp_path: Path) -> None:
    own = tmp_path / "own"
    write(own / "iterative_grpo/advantages/nothing.py", RULE)
    write(own / "verifiers/conventions/tags.py", CONVENTION)
    names = ("credit=nothing", "verifier=tags", f"run_dir={tmp_path / 'run'}")
    planned = command("run", "arithmetic", *names, "--dry-run", folder=own)
    assert planned.returncode == 0, planned.stderr
    rows = tmp_path / "rows.jsonl"
    write(rows, json.dumps({"response": "so\n<answer>D</answer>", "answer": "D"}) + "\n")
    verified = command("verify", str(rows), "--convention", "tags", folder=own)
    assert verified.returncode == 0, verified.stderr
    assert json.loads((tmp_path / "rows.verdicts.jsonl").read_text())["outcome"] == "correct"
    write(own / "iterative_grpo/advantages/sum.py", RULE)
    clash = command("run", "arithmetic", *names, "--dry-run", folder=own)
    assert clash.returncode == 2
    assert "2 files called sum" in clash.stderr
    assert "Traceback" not in clash.stderr
    absent = command("run", "arithmetic", *names, "--dry-run", folder=tmp_path / "absent")
    assert absent.returncode == 2
    assert "which is no folder" in absent.stderr


def test_a_convention_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    write(rows, json.dumps({"response": "1", "answer": "1"}) + "\n")
    for text, said in (
        ("import nowhere", "nowhere"),
        ("def extract(text): return text", "Extract"),
    ):
        write(tmp_path / "own/verifiers/conventions/broken.py", text)
        found = command("verify", str(rows), "--convention", "broken", folder=tmp_path / "own")
        assert found.returncode == 2, found.stderr
        assert said in found.stderr
        assert "Traceback" not in found.stderr


def test_a_misspelt_hook_is_told_and_not_overlooked(tmp_path: Path) -> None:
    sources = tmp_path / "reward_models/sources"
    for name, hook in (("one", "JUDGE_BY"), ("two", "_JUDGE_BY"), ("three", "JUDGED_BY")):
        write(sources / f"{name}.py", f'{hook} = "the verifier"\ndef build(parts): ...\n')
    told = "one.py has JUDGE_BY, which nothing reads. Did you mean JUDGED_BY?"
    for name, code in (("one", 2), ("two", 0), ("three", 0)):
        found = command("run", "arithmetic", f"reward={name}", "--dry-run", folder=tmp_path)
        assert found.returncode == code, found.stderr
        assert (told in found.stderr) == (name == "one")


def test_a_run_records_its_plug_ins_and_says_which_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.progress import Progress

    class Noting(Progress):
        def __init__(self) -> None:
            super().__init__(quiet=True)
            self.said: list[str] = []

        def note(self, text: str) -> None:
            self.said.append(text)

    config = toy.config(tmp_path, toy.write_data(tmp_path / "data"))
    found = chosen.fingerprints(config)
    assert {"credit rule sum", "data set gsm8k", "labeler exact", "engine native"} <= found.keys()
    changed = {"credit rule sum": "0" * 64}
    told = []
    for more in ({}, {}, changed, changed, {}):
        progress = Noting()
        monkeypatch.setattr("pipelines.runs.fingerprints", lambda _, more=more: found | more)
        with Run(config, progress, start=lambda job: None):
            pass
        told.append("".join(progress.said))
    # Each start is compared with the one before it.
    assert [bool(text) for text in told] == [False, False, True, False, True]
    assert told[2].startswith("credit rule sum: its file has changed")
