"""The policy phase: what one that goes on keeps of its log, and when it counts as done."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipelines import run
from pipelines.artifacts import ArtifactError
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
    keep_until(file, 2, lines=4)
    assert file.read_text(encoding="utf-8") == "".join(lines[:4])
    keep_until(file, 0, lines=0)
    assert not file.read_text(encoding="utf-8")
    assert file.stat().st_ino == inode


def test_a_file_that_is_not_there_is_nothing_to_cut(tmp_path: Path) -> None:
    keep_until(tmp_path / "rollouts.jsonl", 0, lines=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["gone", "short", "no JSON", "no object", "no step", "twice"])
def test_a_log_that_lost_lines_before_the_checkpoint_is_refused(
    tmp_path: Path, damage: str
) -> None:
    file = tmp_path / "log" / "steps.jsonl"
    file.parent.mkdir()
    lines = [json.dumps({"step": step}) + "\n" for step in (1, 2, 3, 4)]
    changed = {
        "gone": [],
        "short": lines[:2],
        "no JSON": [lines[0], '{"st\n', *lines[2:]],
        "no object": [lines[0], "[]\n", *lines[2:]],
        "no step": [lines[0], "{}\n", *lines[2:]],
        "twice": [lines[0], *lines],
    }[damage]
    if changed:
        file.write_text("".join(changed), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"whole lines of steps 1 to 3 where 3 were written"):
        keep_until(file, 3, lines=3)
    if changed:
        assert file.read_text(encoding="utf-8") == "".join(changed)


@pytest.mark.slow
def test_two_processes_train_an_adapter(tmp_path: Path, data: Path) -> None:
    more = ("iterations=1", "launch.mode=accelerate", "launch.processes=2", "reward=verifier")
    adapter = "policy.lora={rank: 2, alpha: 4}"
    config = write_config(tmp_path, data, "two")
    subprocess.run(command(config, *more, adapter), env=environment(), check=True, timeout=500)
    finished = tmp_path / "two" / "run" / "iterations/01/optimize"
    assert [row["step"] for row in lines(finished / "log/steps.jsonl")] == [1, 2, 3, 4]


WORKERS = """
import os, sys
if "pipelines.launching" in " ".join(sys.orig_argv) and "RANK" in os.environ:
    from benchmarks import shards_on_cpu
    shards_on_cpu.allow()
    if "BREAK_AT" in os.environ:
        from iterative_grpo import trainer
        log = trainer.IterativeGRPOTrainer.log
        def stop(self, *args, **more):
            if self.state.global_step == int(os.environ["BREAK_AT"]):
                os._exit(1)
            log(self, *args, **more)
        trainer.IterativeGRPOTrainer.log = stop
"""


@pytest.mark.slow
def test_an_adapter_trained_in_shards_goes_on_where_it_stopped(tmp_path: Path, data: Path) -> None:
    more = ("iterations=1", "reward=verifier", "policy.lora={rank: 2, alpha: 4}")
    config = write_config(tmp_path, data, "run")
    launch = ("launch.mode=accelerate", "launch.processes=2", "optimize.checkpoint_every=2")
    iteration = tmp_path / "run" / "run" / "iterations/01"
    (tmp_path / "sitecustomize.py").write_text(WORKERS, encoding="utf-8")
    file = tmp_path / "fsdp.yaml"
    sharding = {"fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP"}
    file.write_text(
        json.dumps({"distributed_type": "FSDP", "num_processes": 2, "fsdp_config": sharding}),
        encoding="utf-8",
    )

    def done(*options: str, **variables: str) -> int:
        own = environment()
        own |= {"PYTHONPATH": f"{own['PYTHONPATH']}:{tmp_path}", **variables}
        made = subprocess.run(
            command(config, *more, *launch, *options),
            env=own,
            check=False,
            timeout=500,
            capture_output=True,
            text=True,
        )
        assert "come from TRL" not in made.stderr
        return made.returncode

    assert not done()
    whole = iteration.rename(tmp_path / "whole")
    shards = f"launch.config_file={file}"
    assert done(shards, BREAK_AT="3")
    assert not (iteration / "optimize").exists()
    assert list(iteration.glob("optimize.partial/work/checkpoints/checkpoint-2/*fsdp*"))
    assert not done(shards)

    texts = [
        [row["text"] for row in lines(each / "optimize/rollouts.jsonl")]
        for each in (whole, iteration)
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 4 * 16
    policies = [
        load_file(each / "optimize/policy/model.safetensors") for each in (whole, iteration)
    ]
    start = load_file(whole.parent / "run/run/start/policy/model.safetensors")
    assert policies[0].keys() == policies[1].keys() == start.keys()
    for name, weight in policies[0].items():
        torch.testing.assert_close(policies[1][name], weight, rtol=0, atol=1e-4)
    assert any(not torch.equal(weight, start[name]) for name, weight in policies[1].items())


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
