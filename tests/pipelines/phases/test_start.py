"""What the first phase makes, and what it refuses, so that no later one ends a run."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from iterative_grpo.types import Sampling
from pipelines import datasets, policies, questions, run
from pipelines import warm_start as warming
from pipelines.config import PolicySettings, WarmStart
from pipelines.datasets import arithmetic
from pipelines.phases import start
from pipelines.policies import PolicyError
from pipelines.progress import Progress
from pipelines.prompts import PromptTooLong
from pipelines.runs import Job
from tests.pipelines import checkpoint_engine, toy
from tests.pipelines.phases import asked


def test_a_question_that_is_too_long_is_told_before_it_is_drawn(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    with (data / "gsm8k" / "train.jsonl").open("a", encoding="utf-8") as rows:
        rows.write(json.dumps({"question": "long " * 2000, "answer": "1\n#### 1"}) + "\n")
    untrained = {"make": {"tokenizer": "bpe", "vocabulary": 280, "width": 32, "layers": 1}}
    config = toy.config(tmp_path, data, "reward=verifier", policy=untrained)
    with pytest.raises(PromptTooLong, match="gsm8k/train/96: its prompt has"):
        run(config, quiet=True)
    assert not (tmp_path / "run" / "start").exists()


def job_of(folder: Path, data: Path, *more: str, phase: str = "start") -> Job:
    config = toy.config(folder, data, *more)
    output = folder / "output"
    output.mkdir(exist_ok=True)
    return Job(phase, 0, config, {}, output, Progress(quiet=True))


def test_a_question_of_the_evaluation_that_is_too_long_is_told_before_the_warm_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy.write_data(tmp_path / "data")
    job = job_of(tmp_path, data, "max_tokens=20")
    begun(job, monkeypatch)
    longer = job_of(tmp_path, data, "max_tokens=20", "evaluate.max_tokens=120")
    for check in (start.make, lambda job: start.rehearse(job.config)):
        with pytest.raises(PromptTooLong, match=r"gsm8k/test/.* the answer needs up to 120"):
            check(longer)
    assert start.rehearse(job.config) == []


def test_a_warm_start_is_validated_greedily_on_validation_questions(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    model, tokenizer = policies.load(asked.write_policy(tmp_path) / "policy", PolicySettings())
    asking = ("engine=asked", "policy.prompt=gsm8k_8shot", "max_tokens=9")
    with checkpoint_engine.added(tmp_path / "engines", "asked", asked.SOURCE) as engine:
        config = toy.config(tmp_path, data, *asking)
        accuracy = start.validator(config, model, tokenizer)()
    validation = datasets.load("gsm8k", "validation", path=data).problems
    greedy = Sampling(group_size=1, max_tokens=9, temperature=0.0, stop=("Q:",))
    assert [greedy] * len(validation) == engine.ASKED
    assert accuracy == statistics.fmean(problem.answer == "2" for problem in validation)


class Warming(Exception):
    """Ends a start where its warm start would begin."""

    def __init__(self, pairs: list[tuple[str, str]], settings: warming.WarmStart) -> None:
        self.pairs, self.settings = pairs, settings


def begun(job: Job, monkeypatch: pytest.MonkeyPatch) -> Warming:
    """Return what the warm start of a policy made on the spot would be given."""

    def begin(_: Any, __: Any, pairs: Any, settings: Any, *___: Any) -> None:
        raise Warming(pairs, settings)

    monkeypatch.setattr(warming, "warm_start", begin)
    with pytest.raises(Warming) as caught:
        start.make(job)
    return caught.value


def test_demonstrations_are_shown_as_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy.write_data(tmp_path / "data")
    given = {"steps": 7, "batch": 3, "stop_at": 0.25}
    rates = {"learning_rate": 0.002, "muon_learning_rate": 0.03}
    more = [f"policy.warm_start.{name}={value}" for name, value in {**given, **rates}.items()]
    more += ["policy.warm_start.demonstrations=10", "policy.prompt=deepseek_math_cot"]
    job = job_of(tmp_path, data, *more)
    found = begun(job, monkeypatch)
    expected = warming.WarmStart(
        steps=7, batch=3, stop_at=0.25, learning_rate=0.002, muon_learning_rate=0.03, seed=job.seed
    )
    assert found.settings == expected
    shown = questions.training(job.config).problems[:10]
    assert [text for _, text in found.pairs] == [
        f"{problem.tags['solution']}\n#### {problem.answer}" for problem in shown
    ]
    assert [prompt.split("\n")[0] for prompt, _ in found.pairs] == [
        f"User: {problem.question}" for problem in shown
    ]


def test_the_demonstrations_of_made_questions_have_mistakes_that_the_seed_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy.write_data(tmp_path / "data")
    more = ("data.name=arithmetic", "data.limit=200", "policy.make.tokenizer=words")
    shown = {}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        job = job_of(tmp_path, data, *more, f"seed={seed}")
        found = begun(job, monkeypatch)
        right = [arithmetic.demonstration(it) for it in questions.training(job.config).problems]
        wrong = [text != own for (_, text), own in zip(found.pairs, right, strict=True)]
        assert 0.3 < statistics.fmean(wrong) < 0.6
        shown[name] = wrong
    assert shown["one"] == shown["again"] != shown["other"]


def test_the_seed_draws_the_weights_and_the_order_of_the_demonstrations(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    untrained = ("policy.warm_start=null", "policy.make.width=8")
    jobs = [job_of(tmp_path, data, *untrained, f"seed={seed}") for seed in (0, 0, 1)]
    made = [start.make(job) for job in jobs]
    one, again, other = (parameters_to_vector(model.parameters()) for model, _ in made)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    tokenizer = made[0][1]
    pairs = [(f"{n}+{n}=?\n", f"#### {2 * n}") for n in range(10)]
    trained = []
    for place, job in enumerate((jobs[0], jobs[2])):
        model = policies.load(saved(tmp_path / f"{place}", *made[0]), PolicySettings())[0]
        output = tmp_path / f"output-{place}"
        output.mkdir()
        warmed = Job(job.phase, 0, job.config, {}, output, Progress(quiet=True))
        start.warm_start(warmed, model, tokenizer, pairs, WarmStart(steps=1, batch=2))
        trained.append(parameters_to_vector(model.parameters()))
    assert not torch.equal(*trained)


def saved(folder: Path, model: Any, tokenizer: Any) -> Path:
    policies.save(model, tokenizer, folder)
    return folder


def test_demonstrations_without_room_for_their_end_are_left_out(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    job = job_of(tmp_path, data, "policy.make.context=128", "policy.make.width=8")
    untrained = job.config.policy.model_copy(update={"warm_start": None})
    made = Job("start", 0, job.config.model_copy(update={"policy": untrained}), {}, job.output,
               job.progress)  # fmt: skip
    model, tokenizer = start.make(made)
    fits, full = ("1" * 100, "2" * 27), ("1" * 100, "2" * 28)
    with pytest.raises(PolicyError, match="no demonstration fits the context of 128"):
        start.warm_start(job, model, tokenizer, [full], WarmStart(steps=1))
    start.warm_start(job, model, tokenizer, [fits, full], WarmStart(steps=1))
    log = json.loads((job.output / "log" / "warm_start.json").read_text())
    assert (log["demonstrations"], log["steps"]) == (1, 1)
