"""What a run says before any compute is spent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
import yaml

from pipelines import cli, places, preflight, questions, settings
from pipelines.config import Config
from pipelines.datasets import DataError
from pipelines.keywords import UnfitValue, UnknownField
from pipelines.phases import sample
from pipelines.policies import PolicyError
from pipelines.progress import Progress
from pipelines.prompts import Unrenderable
from pipelines.runs import RunError
from pipelines.trackers import NoTracker
from reward_models.division import EmptyPart
from reward_models.leaks import LeakedQuestion
from tests.pipelines import checkpoint_engine, toy


def changed(dtype: torch.dtype, rate: float) -> tuple[float, float]:
    """Return the share of weights that steps in one direction change, and by how much."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter((torch.randn(300, 300, generator=generator) * 0.02).to(dtype))
    before = weight.detach().clone()
    direction = torch.randn(300, 300, generator=generator)
    optimizer = torch.optim.AdamW([weight], lr=rate, weight_decay=0.0)
    for _ in range(100):
        noise = torch.randn(300, 300, generator=generator)
        weight.grad = (direction + noise).to(dtype)
        optimizer.step()
    moved = (weight.detach().double() - before.double()).abs()
    return float((moved > 0).double().mean()), float(moved.mean())


def test_small_steps_of_bfloat16_weights_are_rounded_away() -> None:
    share, exact = changed(torch.float32, 1e-6)
    rounded_share, rounded = changed(torch.bfloat16, 1e-6)
    assert share > 0.99
    assert rounded_share < 0.03
    assert 60 < exact / rounded < 120
    # Steps that are as large as the weights' last bits arrive.
    assert changed(torch.bfloat16, 1e-3)[0] > 0.9


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), False),
        (("policy.dtype=bfloat16",), True),
        (("policy.dtype=bfloat16", "policy.lora={}"), False),
        (("policy.dtype=bfloat16", "optimize.learning_rate=1e-3"), False),
        (("optimize.bf16=true",), False),
    ],
)
def test_a_run_says_that_bfloat16_weights_round_small_steps_away(
    more: tuple[str, ...], told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.write_data(tmp_path / "data")
    config = toy.config(tmp_path, data, "optimize.learning_rate=1e-6", *more)
    preflight.check(config, Progress())
    said = " ".join("".join(capsys.readouterr()).split())
    assert ("others are rounded back" in said) == told
    assert ("changes only weights below 0.0003, " in said) == told


def test_an_iteration_that_would_hold_out_no_question_is_told_before_the_first(
    tmp_path: Path,
) -> None:
    data = toy.write_data(tmp_path / "data")
    few = ("sample.first_problems=24", "sample.problems=6", "iterations=30")
    config = toy.config(tmp_path, data, *few)
    with pytest.raises(EmptyPart, match=r"iteration \d+: none of 6 questions falls to") as told:
        preflight.check(config, Progress(quiet=True))
    found = int(str(told.value).split()[1].rstrip(":"))
    assert found > 1
    preflight.draws(toy.config(tmp_path, data, *few[:2], f"iterations={found - 1}"))
    # What a ledger will dispute is not known, and the verifier needs no questions of its own.
    preflight.draws(toy.config(tmp_path, data, *few, "sample.from_ledger=0.5"))
    preflight.draws(toy.config(tmp_path, data, *few, "reward=verifier"))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), True),
        (("optimize.steps=5",), False),
        (("reward=verifier",), False),
        (("reward=verifier", "optimize.watch.retrain_when.kl=1"), True),
    ],
)
def test_a_watch_that_cannot_speak_is_told(
    more: tuple[str, ...], told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.write_data(tmp_path / "data")
    preflight.check(toy.config(tmp_path, data, *more), Progress())
    said = " ".join("".join(capsys.readouterr()).split())
    assert ("is below optimize.watch.retrain_when.window 5" in said) == told


@pytest.mark.parametrize("room", [2**40, 2**20])
def test_what_a_gpu_has_no_room_for_is_told(
    room: int,
    tmp_path: Path,
    tiny_policy: Callable[[int, torch.dtype], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = toy.write_data(tmp_path / "data")
    config = toy.config(tmp_path, data)
    assert not list(preflight.on_gpu(config))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert preflight.gpu_memory() == 0 or torch.cuda.device_count()
    monkeypatch.setattr(preflight, "gpu_memory", lambda: room)
    phases = [line.split(" need about")[0] for line in preflight.on_gpu(config)]
    assert phases == ([] if room == 2**40 else ["policy phases", "retraining"])
    sampled = toy.config(tmp_path, data, "optimize.micro_batch=1", "optimize.prompts=64")
    for its, beside in (
        (config, "gradients of 16 outputs of 20 tokens at once"),
        (sampled, "keys"),
    ):
        assert room == 2**40 or f"optimizer state and {beside}" in next(preflight.on_gpu(its))
    policy = ("policy.make=null", "policy.warm_start=null")
    named = (*policy, f"policy.model={tiny_policy(0, torch.float32)}", "reward=verifier")
    fast = ("optimize.bf16=true", "reward_model.bf16=true")
    for more, slow in (
        ((), ["optimize"]),
        (fast[:1], []),
        (("reward=model",), ["optimize", "reward_model"]),
        (("reward=model", *fast[:1]), ["reward_model"]),
        (("reward=model", *fast), []),
    ):
        said = list(preflight.on_gpu(toy.config(tmp_path, data, *named, *more)))
        assert [it.split(".")[0] for it in said if ".bf16 is off" in it] == slow


def test_no_question_left_is_told(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    rows = [{"question": f"How many {it}?", "answer": r"#### \frac{"} for it in ("a", "b")]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (data / "gsm8k" / "train.jsonl").write_text(text, encoding="utf-8")
    config = toy.config(tmp_path, data, "data.max_bad_golds=1")
    told = "no training question is left of .*: 1 have unreadable golds, 0 are asked .* validation"
    with pytest.raises(DataError, match=told):
        preflight.check(config, Progress(quiet=True))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("sample.problems=1000",), True),
        (("sample.problems=60", "sample.first_problems=1000"), True),
        (("sample.problems=1000", "sample.first_problems=60", "iterations=1"), False),
        (("sample.problems=1000", "reward=verifier"), False),
        (("sample.problems=60",), False),
    ],
)
def test_fewer_questions_than_asked_for_are_told(
    more: tuple[str, ...], told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.write_data(tmp_path / "data")
    preflight.check(toy.config(tmp_path, data, "iterations=2", *more), Progress())
    said = " ".join("".join(capsys.readouterr()).split())
    assert ("asks for 1,000 questions, and there are" in said) == told


def test_a_policy_without_a_chat_template_is_told_before_its_weights_are_read(
    tmp_path: Path, tiny_policy: Callable[[int, torch.dtype], Path]
) -> None:
    data = toy.write_data(tmp_path / "data")
    policy = tiny_policy(0, torch.float32)
    for weights in policy.glob("*.safetensors"):
        weights.unlink()
    named = ("policy.make=null", "policy.warm_start=null", f"policy.model={policy}")
    preflight.check(toy.config(tmp_path, data, *named), Progress(quiet=True))
    with pytest.raises(Unrenderable, match=f"{policy} has no chat template"):
        preflight.check(
            toy.config(tmp_path, data, *named, "policy.prompt=chat"), Progress(quiet=True)
        )


def test_checkpoints_that_could_not_be_resumed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy.write_data(tmp_path / "data")
    several = ("launch.mode=accelerate", "launch.processes=2")
    config = toy.config(tmp_path, data, "optimize.checkpoint_every=1", *several)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    preflight.resumable(config)
    monkeypatch.setattr(transformers, "__version__", "5.17.0")
    with pytest.raises(RunError, match=r"transformers 5\.17\.0 cannot resume 2 processes on CPUs"):
        preflight.resumable(config)
    preflight.resumable(toy.config(tmp_path, data, *several))
    preflight.resumable(toy.config(tmp_path, data, "optimize.checkpoint_every=1"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    preflight.resumable(config)


def test_what_the_policy_phase_could_not_use_is_refused(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    refused: tuple[tuple[str, type[Exception]], ...] = (
        ("optimize.trl.adam_betta2=0.9", UnknownField),
        ("report_to=[nothing]", NoTracker),
    )
    for override, error in refused:
        with pytest.raises(error):
            preflight.check(toy.config(tmp_path, data, override), Progress(quiet=True))


def test_checkpoints_that_could_not_be_resumed_end_a_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy.write_data(tmp_path / "data")
    more = ("launch.mode=accelerate", "launch.processes=2", "optimize.checkpoint_every=1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(transformers, "__version__", "5.17.0")
    with pytest.raises(RunError, match="cannot resume"):
        preflight.check(toy.config(tmp_path, data, *more), Progress(quiet=True))
    monkeypatch.setattr(transformers, "__version__", "5.18.0")
    preflight.resumable(toy.config(tmp_path, data, *more))


def test_a_disk_that_is_as_good_as_full_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy.config(tmp_path, toy.write_data(tmp_path / "data"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=63 * 2**20))
    with pytest.raises(RunError, match="has 63 MiB free, at least 64 are needed"):
        preflight.check(config, Progress(quiet=True))


def test_what_is_read_and_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.write_data(tmp_path / "data")
    with (data / "gsm8k" / "train.jsonl").open("a", encoding="utf-8") as rows:
        rows.write(json.dumps({"question": "What?", "answer": "#### \\frac{1}{"}) + "\n")
    preflight.check(toy.config(tmp_path, data, "data.max_bad_golds=0.1"), Progress())
    said = " ".join("".join(capsys.readouterr()).split())
    assert "left out for unreadable golds: 1 (gsm8k/train/96" in said
    assert "evaluate on gsm8k/test: 12 questions" in said


def said(config: Config, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the checks say, in one line."""
    preflight.check(config, Progress())
    return " ".join("".join(capsys.readouterr()).split())


def test_what_is_trained_on_and_compared_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.write_data(tmp_path / "data")
    with (data / "gsm8k" / "train.jsonl").open("a", encoding="utf-8") as rows:
        for _ in range(4):
            rows.write(json.dumps({"question": "What?", "answer": "#### \\frac{1}{"}) + "\n")
    config = toy.config(tmp_path, data, "data.max_bad_golds=0.1")
    found = said(config, capsys)
    split = questions.training(config)
    assert f"train on gsm8k: 91 problems, sha256 {split.fingerprint[:12]} " in found
    assert split.note
    assert f"; {split.note}" in found
    assert "unreadable golds: 4 (gsm8k/train/96" in found
    assert found.count("; gsm8k/train/9") == 2  # three are shown
    assert "decontamination: 91 training questions against gsm8k/test (12): " in found


def test_what_the_engine_lacks_or_does_not_take_is_told(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    source = """
def lacking():
    return "a card of another make"


def load(model, tokenizer):
    return None
"""
    told = pytest.raises(PolicyError, match="engine rare: a card of another make")
    with checkpoint_engine.added(tmp_path / "engines", "rare", source), told:
        preflight.check(toy.config(tmp_path, data, "engine=rare"), Progress(quiet=True))
    config = toy.config(tmp_path, data)
    for options, error in (({"cache_gb": 1}, UnknownField), ({"cache_gib": "much"}, UnfitValue)):
        unfit = config.model_copy(update={"engine_options": options})
        with pytest.raises(error, match=r"engine_options\.cache_g"):
            preflight.check(unfit, Progress(quiet=True))


def test_questions_of_the_evaluation_are_looked_for_in_all_iterations(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    more = ("data.decontaminate=null", "sample.problems=20", "iterations=4")
    config = toy.config(tmp_path, data, *more)
    drawn = [sample.drawn_in(config, iteration) for iteration in (1, 2, 3, 4)]
    earlier = {it.id for problems in drawn[:3] for it in problems}
    late = next(it for it in drawn[3] if it.id not in earlier)
    preflight.draws(config)
    leaking = toy.write_data(tmp_path / "leaking")
    with (leaking / "gsm8k" / "test.jsonl").open("a", encoding="utf-8") as rows:
        row = {"question": late.question, "answer": f"#### {late.answer}"}
        rows.write(json.dumps(row) + "\n")
    preflight.draws(toy.config(tmp_path, leaking, *more[:2], "iterations=3"))
    with pytest.raises(LeakedQuestion, match=f"{late.id} asks a question of gsm8k/test"):
        preflight.check(toy.config(tmp_path, leaking, *more), Progress(quiet=True))


@pytest.mark.parametrize(
    ("kind", "bf16", "told"),
    [("DEEPSPEED", True, True), ("DEEPSPEED", False, False), ("FSDP", True, False)],
)
def test_weights_that_deepspeed_rounds_are_told(
    kind: str, bf16: bool, told: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.write_data(tmp_path / "data")
    config = toy.config(tmp_path, data, f"optimize.bf16={str(bf16).lower()}")
    file = tmp_path / "accelerate.yaml"
    file.write_text(f"distributed_type: {kind}\n", encoding="utf-8")
    launch = config.launch.model_copy(update={"config_file": file})
    found = said(config.model_copy(update={"launch": launch}), capsys)
    assert ("DeepSpeed rounds the policy's weights to bfloat16" in found) == told


def test_room_is_looked_for_where_the_run_will_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def usage(path: Path) -> SimpleNamespace:
        looked_at.append(path)
        return SimpleNamespace(free=64 * 2**20)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for run_dir in ("here", "here/new/run", "new"):
        preflight.room(Path(run_dir))
    assert looked_at == [Path("here"), tmp_path / "here", tmp_path]


def without(*keys: str) -> Callable[[Path, Path], None]:
    """Return what takes special tokens from a policy's tokenizer."""

    def change(policy: Path, _: Path) -> None:
        file = policy / "tokenizer_config.json"
        told = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps({**told, **dict.fromkeys(keys)}), encoding="utf-8")

    return change


def smaller(policy: Path, _: Path) -> None:
    file = policy / "config.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(told | {"vocab_size": 20}), encoding="utf-8")


def long_question(split: str) -> Callable[[Path, Path], None]:
    """Return what adds a question to a split that has no room in the context."""

    def change(_: Path, data: Path) -> None:
        with (data / "gsm8k" / f"{split}.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(json.dumps({"question": "long " * 40, "answer": "#### 1"}) + "\n")

    return change


def a_file(_: Path, data: Path) -> None:
    (data.parent / "run").touch()


@pytest.mark.parametrize("dry", [True, False], ids=["dry", "run"])
@pytest.mark.parametrize(
    ("change", "more", "told"),
    [
        (without("pad_token"), (), "has no pad token; name one of its tokens"),
        (without("eos_token"), (), "has no EOS token"),
        (smaller, (), "its tokenizer has tokens up to id 27, its model embeddings of 20;"),
        (long_question("train"), (), "gsm8k/train/96: its prompt has 2"),
        (long_question("test"), (), "gsm8k/test/12: its prompt has 2"),
        (without(), ("max_tokens=100",), "the answer needs up to 100, together more than"),
        (without(), ("evaluate.max_tokens=100",), "gsm8k/test/10: its prompt has 39 tokens"),
        (a_file, (), "is a file, expected a folder; give another run_dir"),
        (a_file, ("run_dir={run}/below",), "/run/below: "),
    ],
    ids=["pad", "eos", "words", "train", "test", "context", "answers", "file", "below"],
)
def test_what_the_start_would_stop_at_is_refused_before_it_and_in_a_rehearsal(
    change: Callable[[Path, Path], None],
    more: tuple[str, ...],
    told: str,
    dry: bool,
    tmp_path: Path,
    tiny_policy: Callable[[int, torch.dtype], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = toy.write_data(tmp_path / "data")
    policy = tiny_policy(0, torch.float32)
    (policy / "model.safetensors").unlink()  # no weights are read
    change(policy, data)
    own = {"model": str(policy)}
    raw = {**toy.raw(tmp_path, data, policy=own), "reward": "verifier"}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(raw), encoding="utf-8")
    given = [each.format(run=tmp_path / "run") for each in more]
    code = cli.main(["run", str(file), "--quiet", *given, *(["--dry-run"] if dry else [])])
    assert code == cli.REFUSED
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").is_dir()
    if change is a_file:
        return
    # A run with a copy of its policy does not ask the original.
    config = settings.load(raw, given)
    places.phase(config.run_dir, 0, "start").mkdir(parents=True)
    preflight.check(config, Progress(quiet=True))
