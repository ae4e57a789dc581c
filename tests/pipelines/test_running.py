"""Whole runs: to the end, killed in every phase, on two processes, and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from iterative_grpo.types import Prompt
from pipelines import cli, policies, run
from pipelines.artifacts import ArtifactError, read_manifest
from tests.pipelines import checkpoint_engine, toy
from tests.pipelines.toy import lines


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


def fingerprints(folder: Path) -> dict[str, str]:
    return {
        str(manifest.parent.relative_to(folder)): read_manifest(manifest.parent)["fingerprint"]
        for manifest in sorted(folder.rglob("manifest.json"))
    }


def command(config: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", "run", str(config), *more]


def environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}


def write_config(folder: Path, data: Path, name: str, **more: Any) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**toy.raw(folder / name, data), **more}), encoding="utf-8")
    return file


@pytest.mark.slow
@pytest.mark.parametrize("supervision", ["outcome", "process"])
def test_a_run_makes_every_artifact_and_says_so(
    supervision: str, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = run(toy.config(tmp_path, data, f"supervision={supervision}"))
    folder = tmp_path / "run"
    assert policy == folder / "iterations" / "02" / "optimize" / "policy"
    made = set(fingerprints(folder))
    phases = ("sample", "label", "retrain", "optimize", "evaluate")
    expected = {f"iterations/{i:02d}/{phase}" for i in (1, 2) for phase in phases}
    assert made == expected | {"start", "iterations/00/evaluate"}
    assert not list(folder.rglob("*.partial"))

    steps = lines(folder / "metrics" / "steps.jsonl")
    assert [row["global_step"] for row in steps] == list(range(1, 9))
    assert {"reward", "reward_std", "kl", "verifier_accuracy", "reward/model"} <= steps[0].keys()
    # The reference is the policy of the phase's start: no distance at its first step.
    assert [row["kl"] for row in steps if row["step"] == 1] == [0.0, 0.0]
    assert any(row["kl"] > 0 for row in steps)

    rows = lines(folder / "metrics" / "iterations.jsonl")
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    for row in rows:
        figures = row["evaluations"]["gsm8k/test"]
        assert figures["n"] == 12
        assert figures["low"] <= figures["accuracy"] <= figures["high"]
    replay = json.loads((folder / "iterations/02/retrain/replay.json").read_text())
    assert replay["replayed"] == round(replay["fresh"] / 9)
    assert rows[2]["reward_model"]["replay_share"] == pytest.approx(0.1, abs=0.01)
    assert rows[2]["reward_model"]["replay_ages"] == {"1": replay["replayed"]}
    for row in rows[1:]:
        judged = row["reward_model"]
        assert judged["promoted"] in (True, False)
        assert sum(ends for _, _, ends in judged["reliability"]) >= judged["heldout_rows"]
        assert judged["best_of_n"] <= judged["pass_at_n"] + 1e-9
    assert rows[1]["reward_model"]["auroc_frozen"] is None
    assert 0 <= rows[2]["reward_model"]["auroc_frozen"] <= 1

    assert ("segmentation" in rows[2]) == (supervision == "process")
    if supervision == "process":
        assert rows[2]["segmentation"]["merged"]["reward_mean"] < 1e-4
    assert rows[2]["labels"]["tokens"] == 0  # exact labels cost none

    rollouts = lines(folder / "iterations/01/optimize/rollouts.jsonl")
    assert len(rollouts) == 4 * 16
    several = sum(len(row["ends"]) > 1 for row in rollouts)
    assert several == 0 if supervision == "outcome" else several > 0
    assert all(len(row["ends"]) == len(row["advantages"]) for row in rollouts)
    assert "report.html" in capsys.readouterr().out
    compared = json.loads((folder / "decontamination.json").read_text())["compared"]
    assert [it["task"] for it in compared] == ["gsm8k/test"]


@pytest.mark.slow
def test_an_engine_of_checkpoints_samples_labels_and_evaluates(tmp_path: Path, data: Path) -> None:
    more = "iterations=1", "supervision=process", "label.labeler=monte_carlo"
    runs = {engine: tmp_path / engine / "run" for engine in ("native", checkpoint_engine.NAME)}
    folder = runs[checkpoint_engine.NAME]
    first, last = folder / "start/policy", folder / "iterations/01/optimize/policy"
    with checkpoint_engine.added(tmp_path / "engines") as module:
        for engine in runs:
            run(toy.config(tmp_path / engine, data, f"engine={engine}", *more), quiet=True)
        # The policy in training is sampled by TRL; what was opened is given back.
        assert [first, first, first, last] == module.OPENED == module.CLOSED
        settings = toy.config(tmp_path, data).policy
        sampled = policies.sampled(first, settings, checkpoint_engine.NAME)
        with pytest.raises(ValueError, match="with 0 samplings"), sampled as sampler:
            sampler.engine.generate([Prompt("a", (5, 6))], [])
        assert len(module.OPENED) == len(module.CLOSED) == 5
    for file in (
        "iterations/00/evaluate/gsm8k.test.answers.jsonl",
        "iterations/01/sample/samples.jsonl",
        "iterations/01/label/labels.jsonl",
    ):
        native, other = ((run_dir / file).read_bytes() for run_dir in runs.values())
        assert native == other, file


@pytest.mark.slow
def test_equal_seeds_make_equal_runs_and_more_iterations_go_on(tmp_path: Path, data: Path) -> None:
    run(toy.config(tmp_path / "a", data), quiet=True)
    run(toy.config(tmp_path / "b", data, "iterations=1"), quiet=True)
    run(toy.config(tmp_path / "b", data), quiet=True)
    whole, continued = (fingerprints(tmp_path / side / "run") for side in "ab")
    assert whole == continued
    run(toy.config(tmp_path / "c", data, "seed=1", "iterations=1"), quiet=True)
    other = fingerprints(tmp_path / "c" / "run")
    assert all(other[name] != whole[name] for name in other)


@pytest.mark.slow
def test_killed_in_any_phase_it_resumes_there_and_ends_alike(tmp_path: Path, data: Path) -> None:
    optimize = {**toy.raw(tmp_path, data)["optimize"], "checkpoint_every": 2}
    asked = {"tasks": ["gsm8k/test"], "samples": 3}
    whole = write_config(tmp_path, data, "whole", optimize=optimize, evaluate=asked)
    subprocess.run(command(whole, "--quiet"), env=environment(), check=True)
    expected = fingerprints(tmp_path / "whole" / "run")

    broken = write_config(tmp_path, data, "broken", optimize=optimize, evaluate=asked)
    folder = tmp_path / "broken" / "run"
    killed = []
    partials: list[tuple[str, Callable[[], bool]]] = [
        (name, (folder / f"{name}.partial").exists)
        for name in (
            "start",
            "iterations/00/evaluate",
            "iterations/01/sample",
            "iterations/01/label",
            "iterations/01/retrain",
            "iterations/02/optimize",
            "iterations/02/evaluate",
        )
    ]
    checkpoint = folder / "iterations/01/optimize.partial/work/checkpoints/checkpoint-2"
    partials.insert(5, ("iterations/01/optimize", checkpoint.exists))  # not whole yet
    partials.insert(6, ("iterations/01/optimize", (checkpoint / "whole.json").exists))
    for name, reached in partials:
        process = subprocess.Popen(command(broken, "--quiet"), env=environment())
        finished_before = set(fingerprints(folder)) if folder.exists() else set()
        while process.poll() is None and not reached():
            time.sleep(0.001)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed.append(name)
        # A partial folder carries no manifest before it is whole, so that names tell the truth.
        assert name not in finished_before
    assert len(killed) >= 6, killed
    before = {name: (folder / name).stat().st_mtime_ns for name in fingerprints(folder)}
    subprocess.run(command(broken, "--quiet"), env=environment(), check=True)
    assert fingerprints(folder) == expected
    for name, moment in before.items():
        assert (folder / name).stat().st_mtime_ns == moment, f"{name} was made again"
    assert len(lines(folder / "metrics" / "steps.jsonl")) == 8
    evaluated = lines(folder / "metrics" / "iterations.jsonl")[-1]["evaluations"]["gsm8k/test"]
    assert evaluated["samples"]["metrics"]["maj"].keys() == {"1", "2"}


@pytest.mark.slow
def test_a_changed_setting_of_a_finished_phase_is_refused_by_name(
    tmp_path: Path, data: Path
) -> None:
    run(toy.config(tmp_path, data, "iterations=1"), quiet=True)
    with pytest.raises(ArtifactError, match=r"sample of iteration 1 .*sample.problems was 24 and"):
        run(toy.config(tmp_path, data, "sample.problems=20"), quiet=True)
    toy.write_data(tmp_path / "other", seed=5)
    with pytest.raises(ArtifactError, match="start of iteration 0"):
        run(toy.config(tmp_path, tmp_path / "other"), quiet=True)


@pytest.mark.slow
def test_two_processes_run_all_phases(tmp_path: Path, data: Path) -> None:
    more = ("iterations=1", "launch.mode=accelerate", "launch.processes=2")
    config = write_config(tmp_path, data, "two")
    subprocess.run(command(config, *more), env=environment(), check=True, timeout=500)
    folder = tmp_path / "two" / "run"
    rollouts = lines(folder / "iterations/01/optimize/rollouts.jsonl")
    assert len(rollouts) == 4 * 16
    samples = lines(folder / "iterations/01/sample/samples.jsonl")
    assert len(samples) == 24 * 4
    assert len({row["problem_id"] for row in samples}) == 24
    # Each trained the reward model on its half of every batch.
    alone = tmp_path / "alone"
    run(toy.config(alone, data, "iterations=1"), quiet=True)
    assert trained_tokens(folder) < 0.7 * trained_tokens(alone / "run")


def trained_tokens(folder: Path) -> int:
    """Return the tokens that the first process read to train the reward model."""
    (row,) = (row for row in lines(folder / "metrics/iterations.jsonl") if row["iteration"] == 1)
    tokens: int = row["time"]["phases"]["retrain"]["forward-backward"]["tokens"]
    return tokens


@pytest.mark.slow
def test_frozen_keeps_the_first_reward_model(tmp_path: Path, data: Path) -> None:
    run(toy.config(tmp_path, data, "reward_model.retrain=false"), quiet=True)
    weights = [
        (tmp_path / f"run/iterations/{i:02d}/retrain/model/model.safetensors").read_bytes()
        for i in (1, 2)
    ]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["verifier", "mixture"])
def test_other_rewards_run(reward: str, tmp_path: Path, data: Path) -> None:
    run(toy.config(tmp_path, data, f"reward={reward}", "iterations=1"), quiet=True)
    steps = lines(tmp_path / "run/metrics/steps.jsonl")
    assert all("reward/verifier" in row for row in steps if reward == "verifier")
    assert all(("share/verifier" in row) == (reward == "mixture") for row in steps)
    assert (tmp_path / "run/iterations/01/retrain").exists() == (reward == "mixture")


@pytest.mark.slow
def test_lora_is_merged_and_the_next_reference_is_the_merged_policy(
    tmp_path: Path, data: Path
) -> None:
    pytest.importorskip("peft")
    config = toy.config(tmp_path, data, "policy.lora={rank: 4, alpha: 8}", "reward=verifier")
    run(config, quiet=True)
    names = {p.name for p in (tmp_path / "run/iterations/02/optimize/policy").iterdir()}
    assert "model.safetensors" in names
    assert "adapter_model.safetensors" not in names
    steps = lines(tmp_path / "run/metrics/steps.jsonl")
    assert [row["kl"] for row in steps if row["step"] == 1] == pytest.approx([0, 0], abs=1e-6)


def test_a_second_run_in_the_same_folder_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.progress import Progress
    from pipelines.runs import Run

    config = write_config(tmp_path, data, "busy")
    loaded = toy.config(tmp_path / "busy", data)
    with Run(loaded, Progress(quiet=True), lambda job: None):
        assert cli.main(["run", str(config), "--quiet"]) == cli.REFUSED
    assert "in use by another run" in capsys.readouterr().err


REFUSED = [
    (["modle=1"], "unknown key modle"),
    (["optimize.group_sise=4"], "Did you mean optimize.group_size?"),
    (["optimize.steps=many"], "optimize.steps"),
    (["optimize.micro_batch=6"], "does not divide"),
    (
        ["optimize.group_size=3", "optimize.micro_batch=4"],
        "neither whole groups of optimize.group_size 3 nor",
    ),
    (["data.path=/nowhere"], "data.path /nowhere is no folder"),
    (["credit=some"], "unknown credit rule 'some'"),
    (["data.name=gsm9k"], "Did you mean 'gsm8k'?"),
    (["max_tokens=4000"], "policy's context"),
    (["max_tokens=128"], "policy's context has 128 positions, prompt included"),
    (["optimize.vllm=colocate"], "optimize.vllm needs a policy.model"),
    (["reward_model.start=x/y", "policy.trust_remote_code=true"], "never loaded with remote code"),
    (["policy.model=x"], "and not both"),
    (["policy.make=null", "policy.warm_start=null"], "and not both"),
    (["reward=uncertain"], "set reward_model.heads to 4 or more"),
    (["reward_model.held_out=0"], "a reward model that nothing measures"),
    (["reward_model.held_out=0.6", "reward_model.validation=0.4"], "leave no question to learn"),
    (["reward_model.calibrate=isotonic", "reward_model.validation=0"], "raise validation above 0"),
    (["launch.processes=2"], "launch.mode must be accelerate"),
    (["launch.processes=3"], "16 outputs a step cannot be divided over 3 processes"),
    (["optimize"], "written key.path=value"),
    (["evaluate.tasks=[gsm8k/verification]"], "no split 'verification'"),
    (["policy={model: /no/model, make: null, warm_start: null}"], "cannot be loaded"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED)
def test_bad_settings_are_refused_before_any_work(
    overrides: list[str],
    message: str,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(tmp_path, data, "bad")
    for more in ([], ["--dry-run"]):
        assert cli.main(["run", str(config), "--quiet", *overrides, *more]) == cli.REFUSED
        printed = capsys.readouterr().err
        assert message in printed
        assert "Traceback" not in printed


def test_a_dry_run_tells_the_plan_and_what_is_found_and_writes_nothing(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, data, "dry")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["run", str(config), "--dry-run"]) == cli.DONE
    printed = capsys.readouterr()
    assert "iteration  phase     work" in printed.out
    assert "train on gsm8k: 91 problems" in printed.err
    assert cli.main(["run", str(config), "--dry-run", "--quiet"]) == cli.DONE
    assert capsys.readouterr().err == ""
    assert sorted(tmp_path.rglob("*")) == before


BROKEN = [
    ("{not json\n", "train.jsonl, line 2"),
    ('{"question": "q"}\n', "answer"),
    ('{"question": "q?", "answer": ""}\n', "train.jsonl, line 2"),
    ('{"question": "q?", "answer": "no mark"}\n', "train.jsonl, line 2"),
]


@pytest.mark.parametrize(("line", "named"), BROKEN)
def test_broken_rows_are_named(
    line: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = toy.write_data(tmp_path / "data")
    train = folder / "gsm8k" / "train.jsonl"
    first, *rest = train.read_text(encoding="utf-8").splitlines(keepends=True)
    train.write_text(first + line + "".join(rest), encoding="utf-8")
    config = write_config(tmp_path, folder, "broken")
    assert cli.main(["run", str(config), "--quiet"]) == cli.REFUSED
    assert named in capsys.readouterr().err


def test_unreadable_golds_are_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = toy.write_data(tmp_path / "data")
    train = folder / "gsm8k" / "train.jsonl"
    with train.open("a", encoding="utf-8") as out:
        out.write(json.dumps({"question": "What?", "answer": "So.\n#### \\frac{1}{"}) + "\n")
    config = write_config(tmp_path, folder, "golds")
    assert cli.main(["run", str(config), "--quiet"]) == cli.REFUSED
    printed = capsys.readouterr().err
    assert "1 of" in printed
    assert "gsm8k/train/96" in printed
    assert "max_bad_golds" in printed


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    config = write_config(tmp_path, data, "unwritable")
    assert cli.main(["run", str(config), f"run_dir={shut}/run"]) == cli.REFUSED
    assert "cannot be written to" in capsys.readouterr().err


def test_a_file_where_the_run_should_be_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("x", encoding="utf-8")
    config = write_config(tmp_path, data, "file")
    assert cli.main(["run", str(config), "--quiet", f"run_dir={tmp_path}/taken"]) == cli.REFUSED
    assert "is a file, expected a folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX")
def test_a_full_disk_is_a_message_and_the_same_command_goes_on(tmp_path: Path, data: Path) -> None:
    config = write_config(tmp_path, data, "full", iterations=1)
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "from pipelines import cli\n"
        f"sys.exit(cli.main(['run', {str(config)!r}, '--quiet']))\n"
    )
    full = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True
    )
    assert full.returncode == cli.FAILED, full.stderr
    assert "error:" in full.stderr
    assert "Traceback" not in full.stderr
    assert not (tmp_path / "full" / "run" / "start").exists()
    subprocess.run(command(config, "--quiet"), env=environment(), check=True)
    assert (tmp_path / "full" / "run" / "iterations" / "01" / "evaluate").exists()


@pytest.mark.slow
def test_help_is_quick_and_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom pipelines import cli\n"
        "try:\n    cli.main(['run', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'trl', 'sympy', 'pydantic'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], env=environment(), check=True)
