"""The watch in whole runs: it reports, it ends phases alike after a kill and on two processes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from iterative_grpo.rollouts import Rollout
from iterative_grpo.types import Finish, StepRewards
from pipelines import run, settings
from pipelines.config import RetrainWhen, WatchSettings
from pipelines.phases.sample import questions_of
from pipelines.progress import Progress
from pipelines.runs import Job
from pipelines.watching import Watching, ledger
from reward_models.ledger import Judgement, Ledger, disputed
from reward_models.model import BrokenScores
from tests.pipelines import toy
from tests.pipelines.test_running import command, environment, fingerprints, lines, write_config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


def row(step: int, score: float, accuracy: float, **more: float) -> dict[str, Any]:
    return {"step": step, "gap": score - accuracy, **more}


def seen(rows: Sequence[dict[str, Any]], **given: Any) -> tuple[Watching, list[bool]]:
    rules = RetrainWhen(window=2, sure=0.0, **given.pop("rules", {}))
    watching = Watching(WatchSettings(retrain_when=rules, **given))
    return watching, [watching.see(row) for row in rows]


GAMED = [row(step, 0.5 + 0.1 * step, 0.5) for step in range(1, 7)]
"""The gap grows from .15 (first two steps) by .1 a step: .2 at step 4, .3 at step 5."""


def test_reporting_ends_nothing_and_keeps_the_first_reason() -> None:
    watching, said = seen(GAMED)
    assert not any(said)
    found = watching.as_row()
    assert (found["step"], found["stopped"]) == (4, False)
    assert "grown by 0.200 (limit 0.15)" in found["reason"]


def test_stopping_ends_the_phase_at_the_step_of_the_reason() -> None:
    watching, said = seen(GAMED[:4], action="stop")
    assert said == [False, False, False, True]
    assert watching.as_row()["stopped"]


def test_steps_that_a_verifier_rewards_say_nothing() -> None:
    bare = [{key: value for key, value in r.items() if key != "gap"} for r in GAMED]
    assert seen(bare, action="stop")[0].reason is None
    far = [row(step, 0.5, 0.5, kl_initial=0.1 * step) for step in range(1, 5)]
    assert seen(far, rules={"kl": 0.3}, action="stop")[1] == [False, False, False, True]
    assert seen(far)[0].reason is None


def test_pairs_that_are_ordered_wrongly_end_the_phase_too() -> None:
    level = [row(step, 0.5, 0.5, pair_accuracy=0.4) for step in range(1, 4)]
    assert seen(level, rules={"gap": None}, action="stop")[1] == [False, True, True]
    assert seen(level, rules={"gap": None, "pair_accuracy": None})[0].reason is None


def test_the_ledger_is_read_off_the_rollouts(tmp_path: Path) -> None:
    def made(problem: str, score: float | None, right: bool | None) -> Rollout:
        parts = {} if score is None else {"model": (0.0, score)}
        rewards = StepRewards((1, 2), (0.0, 0.0), parts)
        return Rollout(problem, 0, "ab", 3, Finish.STOP, rewards, (0.0, 0.0), right)

    judged = [("p", 0.9, False), ("q", 0.1, True), ("q", 0.8, False), ("r", 0.7, True)]
    unjudged = [("s", None, True), ("s", 0.9, None)]
    file = tmp_path / "rollouts.jsonl"
    write = [json.dumps(made(*given).as_row(step=3)) + "\n" for given in judged + unjudged]
    file.write_text("".join(write))
    found = ledger(file, seed=0)
    assert found is not None
    assert found.counts == {
        "liked right": 1, "liked wrong": 2, "disliked right": 1, "disliked wrong": 0,
    }  # fmt: skip
    found.write(tmp_path / "ledger.jsonl")
    assert disputed(tmp_path / "ledger.jsonl") == ["q", "p"]
    file.write_text("".join(write[-2:]))
    assert ledger(file, seed=0) is None


def test_the_seed_draws_what_a_long_ledger_keeps(tmp_path: Path) -> None:
    rewards = StepRewards((2,), (0.9,), {"model": (0.9,)})
    rows = [Rollout(f"p{n}", 0, "ab", 3, Finish.STOP, rewards, (0.0,), False) for n in range(200)]
    file = tmp_path / "rollouts.jsonl"
    file.write_text("".join(json.dumps(it.as_row(step=1)) + "\n" for it in rows))
    kept = []
    for seed in (0, 0, 1):
        made = ledger(file, seed)
        assert made is not None
        kept.append({it.problem_id for it in made.samples("liked wrong")})
    assert kept[0] == kept[1] != kept[2]


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.1, 2), (0.5, 3)])
def test_disputed_questions_are_sampled_first(
    share: float, expected: int, tmp_path: Path, data: Path
) -> None:
    wanted = [f"gsm8k/train/{number}" for number in (50, 7, 31)]
    made = Ledger()
    made.add(
        Judgement(problem, "", 0.9, correct=False, step=1)
        for problem, times in zip(wanted, (3, 2, 1), strict=True)
        for _ in range(times)
    )
    made.add([Judgement("gsm8k/train/1", "", 0.9, correct=True, step=1)])
    made.write(tmp_path / "ledger.jsonl")
    config = toy.config(tmp_path, data, f"sample.from_ledger={share}")

    def drawn(policy: Path) -> list[str]:
        job = Job("sample", 2, config, {"policy": policy}, tmp_path, Progress(quiet=True))
        return [problem.id for problem in questions_of(job)]

    found = drawn(tmp_path)
    assert found[:expected] == wanted[:expected]
    assert len(set(found)) == len(found) == 24
    # The start's artifact has no ledger: the draw is the one of share 0.
    assert (found == drawn(tmp_path / "start")) is (expected == 0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimize.kl_target=0.01", "optimize.beta=0"], "optimize.beta is 0"),
        (["optimize.watch.action=stop", "reward=verifier"], "no reward model"),
        (
            ["optimize.watch.retrain_when.kl=1", "optimize.kl_initial_outputs=0"],
            "kl_initial_outputs is 0",
        ),
        (["optimize.watch.retrain_when.window=1"], "window"),
    ],
)
def test_what_does_not_fit_is_refused(
    overrides: list[str], message: str, tmp_path: Path, data: Path
) -> None:
    with pytest.raises(settings.ConfigError, match=message):
        toy.config(tmp_path, data, *overrides)


STOPPING = {
    "steps": 6,
    "prompts": 4,
    "group_size": 4,
    "learning_rate": 1e-3,
    # As soon as two steps are seen: any update moves the policy so far.
    "watch": {
        "action": "stop",
        "retrain_when": {"gap": None, "pair_accuracy": None, "kl": 0.003, "window": 2},
    },
}


@pytest.mark.slow
def test_an_ended_phase_is_followed_by_retraining_on_what_was_disputed(
    tmp_path: Path, data: Path
) -> None:
    more = ("sample.from_ledger=0.5", "optimize.kl_target=0.01")
    run(toy.config(tmp_path, data, *more, optimize=STOPPING), quiet=True)
    folder = tmp_path / "run"
    iterations = lines(folder / "metrics" / "iterations.jsonl")
    steps = lines(folder / "metrics" / "steps.jsonl")
    for record in iterations[1:]:
        made = [r for r in steps if r["iteration"] == record["iteration"]]
        watch = record["watch"]
        assert watch["stopped"]
        assert watch["step"] == len(made) < 6
        assert "from the initial one (limit 0.003)" in watch["reason"]
        assert sum(watch["cells"].values()) == 16 * len(made)
        assert all({"beta", "kl_initial", "score", "gap"} <= r.keys() for r in made)
    first = [r for r in steps if r["iteration"] == 1]
    assert [r["kl_initial"] for r in first] == [r["kl"] for r in first]
    assert [r["beta"] for r in first[:2]] == [0.04, pytest.approx(0.04 * 0.98)]
    # The second iteration's reference has moved; the distance from the start is another.
    second = [r for r in steps if r["iteration"] == 2]
    assert second[0]["kl"] == 0.0
    assert second[0]["kl_initial"] > 0.0
    # Label found the questions that sample drew with the ledger's help.
    assert len(lines(folder / "iterations/02/sample/samples.jsonl")) == 24 * 4


class Started:
    """A finished run of one iteration, and copies of it that still have to optimize."""

    def __init__(self, folder: Path, data: Path) -> None:
        optimize = {**STOPPING, "checkpoint_every": 1}
        self.file = write_config(folder, data, "any", optimize=optimize, iterations=1)
        self.whole = folder / "whole"
        self.run(self.whole)

    def run(self, folder: Path) -> None:
        run(settings.load(self.file, [f"run_dir={folder}"]), quiet=True)

    def command(self, folder: Path, *more: str) -> list[str]:
        return command(self.file, "--quiet", f"run_dir={folder}", *more)

    def copy(self, folder: Path) -> Path:
        shutil.copytree(self.whole, folder)
        for phase in ("optimize", "evaluate"):
            shutil.rmtree(folder / "iterations/01" / phase)
        return folder


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Started:
    return Started(tmp_path_factory.mktemp("started"), data)


def ended_early(folder: Path) -> None:
    phase = folder / "iterations/01/optimize"
    steps = lines(phase / "log" / "steps.jsonl")
    watch = json.loads((phase / "watch.json").read_text())
    assert watch["stopped"]
    assert watch["step"] == len(steps) < 6
    assert len(lines(phase / "rollouts.jsonl")) == 16 * len(steps)


@pytest.mark.slow
def test_killed_it_ends_where_an_unbroken_phase_ends(tmp_path: Path, started: Started) -> None:
    folder = started.copy(tmp_path / "broken")
    checkpoints = folder / "iterations/01/optimize.partial/work/checkpoints"
    process = subprocess.Popen(started.command(folder), env=environment())
    while process.poll() is None and not list(checkpoints.glob("*/whole.json")):
        time.sleep(0.001)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    started.run(folder)
    assert fingerprints(folder) == fingerprints(started.whole)
    ended_early(folder)


@pytest.mark.slow
def test_two_processes_end_together(tmp_path: Path, started: Started) -> None:
    folder = started.copy(tmp_path / "two")
    launch = ("launch.mode=accelerate", "launch.processes=2")
    subprocess.run(started.command(folder, *launch), env=environment(), check=True, timeout=500)
    ended_early(folder)


@pytest.mark.slow
def test_a_reward_model_of_nan_is_named_and_nothing_is_lost(
    tmp_path: Path, started: Started
) -> None:
    folder = started.copy(tmp_path / "nan")
    weights = folder / "iterations/01/retrain/model/model.safetensors"
    tensors = {name: tensor * float("nan") for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    before = fingerprints(folder)
    with pytest.raises(BrokenScores, match="as NaN or infinite; its weights are broken"):
        started.run(folder)
    assert fingerprints(folder) == before


@pytest.mark.slow
def test_a_phase_that_fails_after_its_last_step_loses_no_rollout(
    tmp_path: Path, started: Started
) -> None:
    folder = started.copy(tmp_path / "run")
    unfinished = folder / "iterations/01/optimize.partial"
    begun = unfinished / "work/checkpoints/checkpoint-1/whole.json"
    process = subprocess.Popen(started.command(folder), env=environment())
    while process.poll() is None and not begun.exists():
        time.sleep(0.001)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Training goes through; then the watch's record cannot be written.
    (unfinished / "watch.json").mkdir()
    with pytest.raises(OSError, match=r"watch\.json"):
        started.run(folder)
    (unfinished / "watch.json").rmdir()
    started.run(folder)
    ended_early(folder)
    assert fingerprints(folder) == fingerprints(started.whole)
