"""The policy phase's own log: what a phase that goes on keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.phases.optimize import keep_until


@pytest.mark.parametrize("rest", ["", '{"step": 3, "text": "c', '{"step": 2, "text": "b'])
def test_lines_after_the_step_and_a_broken_one_are_cut_off(tmp_path: Path, rest: str) -> None:
    file = tmp_path / "rollouts.jsonl"
    rows = [{"step": step, "text": text} for step in (1, 2, 3, 4) for text in ("é", "≡")]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    file.write_text("".join(lines) + rest, encoding="utf-8")
    inode = file.stat().st_ino
    keep_until(file, 2)
    assert file.read_text(encoding="utf-8") == "".join(lines[:4])
    keep_until(file, 0)
    assert not file.read_text(encoding="utf-8")
    assert file.stat().st_ino == inode


def test_a_file_that_is_not_there_is_nothing_to_cut(tmp_path: Path) -> None:
    keep_until(tmp_path / "rollouts.jsonl", 1)
    assert not list(tmp_path.iterdir())
