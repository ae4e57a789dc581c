"""What follows a policy phase step by step: its log, the watch and what is said of it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import policies
from pipelines.phases import optimize
from pipelines.phases.optimize import StepLog
from pipelines.progress import Progress
from pipelines.runs import Job
from pipelines.watching import Watching
from pipelines.world import World
from tests.pipelines import toy
from tests.pipelines.phases.test_optimize import job_of
from tests.pipelines.toy import lines


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("toy") / "data")


def following(job: Job, place: World | None = None) -> tuple[Any, Watching]:
    place = place or World()
    watching = Watching(job.config.optimize.watch)
    with job.progress.bar("optimize", 4, "steps") as bar:
        return optimize.callback(job, StepLog(job, place, 0), bar, watching, place), watching


def logged(follow: Any, step: int, **logs: float) -> SimpleNamespace:
    control = SimpleNamespace(should_training_stop=False, should_save=True)
    follow.on_log(None, SimpleNamespace(global_step=step), control, logs={"loss": 0.1, **logs})
    return control


def test_a_step_that_diverged_is_logged_and_ends_the_phase(tmp_path: Path, data: Path) -> None:
    follow, _ = following(job_of(tmp_path, data))
    logged(follow, 1)
    with pytest.raises(policies.PolicyError, match="step 2 of iteration 1: grad_norm is not"):
        logged(follow, 2, grad_norm=float("inf"))
    assert [it["step"] for it in lines(tmp_path / "optimize" / "log" / "steps.jsonl")] == [1, 2]


def test_the_watch_ends_a_phase_that_went_on_where_it_would_have_ended_it(
    tmp_path: Path, data: Path
) -> None:
    when = "optimize.watch.retrain_when"
    more = ("optimize.watch.action=stop", f"{when}.window=2", f"{when}.sure=0")
    gaps = (0.0, 0.0, 0.5, 0.5)
    for resumed_at in (0, 2):
        follow, watching = following(job_of(tmp_path, data, *more))
        before = [
            {"loss": 0.1, "gap": gap, "step": step}
            for step, gap in enumerate(gaps[:resumed_at], start=1)
        ]
        follow.on_train_begin(None, SimpleNamespace(log_history=before), None)
        ended = []
        for step, gap in enumerate(gaps[resumed_at:], start=resumed_at + 1):
            control = logged(follow, step, gap=gap)
            # No checkpoint there: a resume makes the step again, and stops at it again.
            assert control.should_save is not control.should_training_stop
            ended.append(control.should_training_stop)
        assert watching.step == 3
        assert ended == [False, False, True, True][resumed_at:]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "watch: would retrain at step 3: the policy is 0.200 from the initial one"),
        (("optimize.watch.action=stop",), "watch: ended the phase at step 3: the policy is"),
        (
            ("reward=published", "published={model: x/y, convention: qwen_prm}"),
            "watch: distrusts the reward model at step 3: the policy is 0.200",
        ),
    ],
)
def test_what_the_watch_sees_is_said_at_its_step_and_once(
    more: tuple[str, ...], said: str, tmp_path: Path, data: Path
) -> None:
    when = "optimize.watch.retrain_when={window: 2, kl: 0.15}"
    for rank in (0, 1):
        shown = io.StringIO()
        job = job_of(tmp_path, data, "reward=model", when, *more, iteration=2)
        job = replace(job, progress=Progress(shown))
        follow, _ = following(job, World(rank, 2))
        for step, kl in ((1, 0.0), (2, 0.2)):
            logged(follow, step, gap=0.0, kl_initial=kl)
        assert "watch:" not in shown.getvalue()
        logged(follow, 3, gap=0.0, kl_initial=0.2)
        assert (said in shown.getvalue()) is (rank == 0)
        logged(follow, 4, gap=0.0, kl_initial=0.2)
        assert shown.getvalue().count("watch:") == (rank == 0)


def test_what_the_watch_said_before_a_checkpoint_is_not_said_again(
    tmp_path: Path, data: Path
) -> None:
    when = "optimize.watch.retrain_when={window: 2, kl: 0.15}"
    shown = io.StringIO()
    job = replace(job_of(tmp_path, data, when, iteration=2), progress=Progress(shown))
    follow, watching = following(job)
    before = [{"loss": 0.1, "gap": 0.0, "kl_initial": 0.2, "step": step} for step in (1, 2)]
    follow.on_train_begin(None, SimpleNamespace(log_history=before), None)
    logged(follow, 3, gap=0.0, kl_initial=0.2)
    assert watching.step == 2
    assert "watch:" not in shown.getvalue()
