"""The policy phase: what one that goes on keeps of its log, and when it counts as done."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipelines import run
from pipelines.failures import PhaseFailed
from pipelines.phases.optimize import keep_until
from tests.pipelines import toy
from tests.pipelines.test_running import command, environment, write_config
from tests.pipelines.toy import lines


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("toy") / "data")


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


@pytest.mark.slow
def test_two_processes_train_an_adapter(tmp_path: Path, data: Path) -> None:
    more = ("iterations=1", "launch.mode=accelerate", "launch.processes=2", "reward=verifier")
    adapter = "policy.lora={rank: 2, alpha: 4}"
    config = write_config(tmp_path, data, "two")
    subprocess.run(command(config, *more, adapter), env=environment(), check=True, timeout=500)
    finished = tmp_path / "two" / "run" / "iterations/01/optimize"
    assert [row["step"] for row in lines(finished / "log/steps.jsonl")] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_policy_phase_that_ends_before_its_last_step_is_not_sealed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ended it: transformers stops at a signal where it is told to."""
    from transformers import Trainer

    config = toy.config(tmp_path, data, "iterations=1", "reward=verifier")
    plain = Trainer.training_step

    def ends(trainer: Any, *args: Any, **kwargs: Any) -> Any:
        trainer.control.should_training_stop = trainer.state.global_step == 1
        return plain(trainer, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", ends)
    with pytest.raises(PhaseFailed, match="training ended at step 2 of 4 of iteration 1"):
        run(config, quiet=True)
    monkeypatch.undo()
    run(config, quiet=True)
    assert len(lines(tmp_path / "run/iterations/01/optimize/log/steps.jsonl")) == 4
