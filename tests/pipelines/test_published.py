"""Runs that a published reward model rewards, and what they refuse before any compute."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines import cli, published, run
from pipelines.artifacts import ArtifactError
from pipelines.evaluate_settings import EvaluateSettings
from pipelines.evaluation import scoring
from pipelines.memory import count_parameters, policy_bytes, size
from pipelines.plan import plan
from pipelines.progress import Progress
from reward_models.model import UntrainedHead
from reward_models.published import qwen_prm
from tests.pipelines import toy
from tests.pipelines.toy import lines
from tests.reward_models.making import byte_bpe
from tests.reward_models.published.test_conventions import policy, qwen, tokenizer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    qwen(folder, tokenizer("<extra_0>"))
    return folder


def chosen(model: Path, convention: str = "qwen_prm") -> tuple[str, ...]:
    return (
        "reward=published",
        f"published.model={model}",
        f"published.convention={convention}",
        "iterations=1",
        "optimize.steps=2",
    )


@pytest.mark.slow
@pytest.mark.parametrize("supervision", ["process", "outcome"])
def test_a_run_is_rewarded_by_the_model_as_it_scores(
    supervision: str, tmp_path: Path, data: Path, model: Path
) -> None:
    run(toy.config(tmp_path, data, f"supervision={supervision}", *chosen(model)), quiet=True)
    folder = tmp_path / "run"
    phases = {path.name for path in (folder / "iterations/01").iterdir()}
    assert phases == {"optimize", "evaluate"}
    asked = {it["id"]: it for it in lines(folder / "iterations/01/optimize/questions.jsonl")}
    rollouts = lines(folder / "iterations/01/optimize/rollouts.jsonl")
    assert len(rollouts) == 2 * 16
    judge = qwen_prm.load(str(model), dtype="float32")
    for row in rollouts:
        question = asked[row["problem_id"]]["question"]
        (scores,) = judge.score([question], [row["text"]], [row["ends"]])
        expected = (*scores[:-1], 0.0) if row["finish"] == "length" else scores
        assert row["rewards"] == pytest.approx(expected, abs=1e-5)
        assert row["components"]["model"] == row["rewards"]
    several = sum(len(row["ends"]) > 1 for row in rollouts)
    assert several > 0 if supervision == "process" else several == 0
    steps = lines(folder / "metrics/steps.jsonl")
    assert {"reward/model", "score", "verifier_accuracy"} <= steps[0].keys()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "rewarded by a published reward model, so no reward model is trained" in page


@pytest.mark.slow
def test_another_model_is_another_phase_wherever_its_files_lie(
    tmp_path: Path, data: Path, model: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(model, here)
    first = run(toy.config(tmp_path, data, *chosen(here)), quiet=True)
    moment = (first / "model.safetensors").stat().st_mtime_ns
    here.rename(there)
    assert run(toy.config(tmp_path, data, *chosen(there)), quiet=True) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == moment
    tokens = tokenizer("<extra_0>")
    tokens.chat_template = f"{tokens.chat_template} "
    tokens.save_pretrained(there)
    with pytest.raises(
        ArtifactError, match=r"optimize of iteration 1 .*published\.fingerprint was"
    ):
        run(toy.config(tmp_path, data, *chosen(there)), quiet=True)


def refused(folder: Path, data: Path, *overrides: str) -> None:
    """Give the command settings that it refuses; nothing is made."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(toy.raw(folder, data)), encoding="utf-8")
    assert cli.main(["run", str(file), "--quiet", *overrides]) == cli.REFUSED
    assert not (folder / "run").exists()


SETTINGS = [
    (["reward=published"], "reward published needs published.model"),
    (["reward=published", "published.model=x"], "needs published.convention: how it is read (math"),
    (["published.model=x"], "published.model given, but reward model asks no published"),
    (["reward=verifier", "published.convention=skywork"], "set reward=published, or leave it out"),
    (["reward=published", "published.convention=qwen-prn"], "Did you mean 'qwen_prm'?"),
    ([*chosen(Path("/no/model"))], "reward model /no/model cannot be loaded"),
    ([*chosen(Path("x")), "optimize.watch.action=stop"], "no reward model that could be retrained"),
]


@pytest.mark.parametrize(("overrides", "message"), SETTINGS)
def test_settings_are_refused_before_any_work(
    overrides: list[str],
    message: str,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused(tmp_path, data, *overrides)
    assert message in capsys.readouterr().err


def blind(folder: Path) -> None:
    qwen(folder, tokenizer())


def speechless(folder: Path) -> None:
    tokens = byte_bpe()
    tokens.add_special_tokens({"additional_special_tokens": ["<extra_0>"]})
    qwen(folder, tokens)


def forgetful(folder: Path) -> None:
    tokens = tokenizer("<extra_0>")
    tokens.chat_template = "{{ messages[0].content }}"
    qwen(folder, tokens)


def headless(folder: Path) -> None:
    policy(folder, tokenizer("<extra_0>"))


def empty(folder: Path) -> None:
    (folder / "config.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (blind, "does not know '<extra_0>' as one token"),
        (speechless, "no chat template"),
        (forgetful, "keeps 0 of 2 step marks"),
        (headless, "has no score.0.weight"),
        (empty, "cannot be loaded"),
    ],
)
def test_checkpoints_of_another_shape_are_refused_before_any_work(
    make: Callable[[Path], None],
    message: str,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "model"
    other.mkdir()
    make(other)
    refused(tmp_path, data, *chosen(other))
    assert message in capsys.readouterr().err


def test_a_question_and_an_answer_have_to_fit_the_models_context(
    tmp_path: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = "policy.make.context=2000"
    refused(tmp_path, data, *chosen(model), wide, "max_tokens=400")
    said = capsys.readouterr().err
    assert "more than its context of 512" in said
    assert "gsm8k/train/" in said


def test_what_is_checked_is_said(
    tmp_path: Path, data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import preflight, questions

    config = toy.config(tmp_path, data, "supervision=process", *chosen(model))
    rewards, cuts = published.check(config, questions.training(config).problems)
    assert "no sample, label and retrain phases" in rewards
    assert "not checked: whether its rewards depend on where texts are cut" in cuts
    preflight.check(config, Progress())
    told = " ".join("".join(capsys.readouterr()).split())
    assert rewards in told
    assert cuts in told
    assert "is below optimize.watch.retrain_when.window" in told


def test_the_plan_has_the_model_and_no_phases_of_its_training(
    tmp_path: Path, data: Path, model: Path
) -> None:
    config = toy.config(tmp_path, data, *chosen(model))
    text = plan(config)
    assert f"published ({model} by qwen_prm)" in text
    assert "retrain" not in text
    stored = sum(p.numel() for p in qwen_prm.load(str(model)).model.backbone.parameters())
    own = policy_bytes(config) * (count_parameters(config) or 0)
    assert f"about {size(own + 4 * stored)} in policy phases" in text
    for dtype, most in (("bfloat16", 2), ("auto", 4)):
        stored_so = toy.config(tmp_path, data, *chosen(model), f"published.dtype={dtype}")
        assert f"about {size(own + most * stored)} in policy phases" in plan(stored_so)


def test_the_evaluation_loads_it_by_its_convention(model: Path, tmp_path: Path) -> None:
    def asked(path: Path) -> EvaluateSettings:
        return EvaluateSettings(samples=2, reward_model=str(path), reward_convention="qwen-prm")

    found = scoring.load(asked(model))
    assert found is not None
    rows = (["1+1?"], ["1+1=2\n#### 2"], [(6, 12)])
    assert found.score(*rows) == qwen_prm.load(str(model)).score(*rows)
    with pytest.raises(published.NoRewardModel, match="of convention qwen-prm, or its name on"):
        scoring.load(asked(tmp_path))
    headless(tmp_path)
    with pytest.raises(UntrainedHead, match=r"has no score\.0\.weight"):
        scoring.load(asked(tmp_path))
