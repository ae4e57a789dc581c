"""The sample phase: which questions it asks, and how."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from iterative_grpo.types import Sampling
from pipelines import questions
from pipelines.phases import sample
from pipelines.progress import Progress
from pipelines.runs import Job
from reward_models.division import EmptyPart
from reward_models.ledger import Judgement, Ledger
from tests.pipelines import checkpoint_engine, toy
from tests.pipelines.phases import asked

MORE = (
    "engine=asked",
    "policy.prompt=gsm8k_8shot",
    "sample={problems: 24, group_size: 2, temperature: 0.7}",
    "max_tokens=9",
)


def job_of(folder: Path, data: Path, *more: str) -> Job:
    config = toy.config(folder, data, *MORE, *more)
    output = folder / "output"
    output.mkdir()
    inputs = {"policy": asked.write_policy(folder)}
    return Job("sample", 1, config, inputs, output, Progress(quiet=True))


def test_it_samples_as_configured_and_each_part_by_a_seed_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "OUTPUTS_AT_ONCE", 8)
    data = toy.write_data(tmp_path / "data")
    parts = set()
    processes = ("launch.mode=accelerate", "launch.processes=2")
    with checkpoint_engine.added(tmp_path / "engines", "asked", asked.SOURCE) as engine:
        job = job_of(tmp_path, data, *processes)
        for rank in (1, 0):
            asked.be_process(monkeypatch, rank, of=2)
            engine.ASKED.clear()
            sample.run(job)
            plain = Sampling(group_size=2, max_tokens=9, temperature=0.7, stop=("Q:",))
            assert {dataclasses.replace(it, seed=0) for it in engine.ASKED} == {plain}
            seeds = [it.seed for it in engine.ASKED]
            assert len(seeds) == 12
            parts |= {(rank, begin, seeds[begin]) for begin in (0, 4, 8)}
        drawn = {seed for _, _, seed in parts}
        assert len(drawn) == 6
        # In another iteration, all is drawn anew.
        asked.be_process(monkeypatch, 1, of=2)
        engine.ASKED.clear()
        sample.run(dataclasses.replace(job, iteration=2))
        assert not drawn & {it.seed for it in engine.ASKED}
    rows = toy.lines(job.output / "samples.jsonl")
    expected = [problem.id for problem in sample.questions_of(job) for _ in range(2)]
    assert [row["problem_id"] for row in rows] == expected


def test_questions_that_leave_nothing_to_measure_on_are_refused_before_they_are_asked(
    tmp_path: Path,
) -> None:
    data = toy.write_data(tmp_path / "data")
    with checkpoint_engine.added(tmp_path / "engines", "asked", asked.SOURCE) as engine:
        job = job_of(tmp_path, data, "sample.problems=1")
        with pytest.raises(EmptyPart):
            sample.run(job)
        assert engine.ASKED == []


def test_no_more_questions_are_drawn_than_there_are(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    config = toy.config(tmp_path, data, "sample.problems=500", "sample.first_problems=40")
    there = {problem.id for problem in questions.training(config).problems}
    assert len(sample.drawn_in(config, 1)) == 40
    drawn = [problem.id for problem in sample.drawn_in(config, 2)]
    assert sorted(drawn) == sorted(there)


def test_disputed_questions_come_first_up_to_their_share(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    config = toy.config(tmp_path, data, "sample.problems=20", "sample.from_ledger=0.25")
    disputed = [problem.id for problem in questions.training(config).problems[30:50]]
    made = Ledger()
    made.add(Judgement(name, "", 0.9, correct=False, step=1) for name in disputed)
    made.write(tmp_path / "ledger.jsonl")
    job = Job("sample", 2, config, {"policy": tmp_path}, tmp_path, Progress(quiet=True))
    drawn = [problem.id for problem in sample.questions_of(job)]
    assert set(drawn[:5]) <= set(disputed)
    assert set(drawn[5:]) - set(disputed)
    assert len(set(drawn)) == len(drawn) == 20
