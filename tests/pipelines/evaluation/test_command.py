"""The command `evaluate`: what it makes, what it refuses, and that it goes on after kill -9."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import cli, making
from tests.pipelines import checkpoint_engine
from tests.pipelines.toy import lines

ROOT = Path(__file__).resolve().parents[3]


def arguments(model: Path, data: Path, output: Path, *more: str) -> list[str]:
    base = ["evaluate", str(model), "--tasks", "gsm8k", "--data", str(data)]
    return [*base, "--max-tokens", "8", "--output", str(output), *more]


def evaluate(model: Path, data: Path, output: Path, *more: str) -> int:
    return cli.main(arguments(model, data, output, *more))


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def results(folder: Path) -> dict[str, bytes]:
    """Return the files that equal evaluations have in common."""
    names = ("*.answers.jsonl", "*.*.json")
    return {file.name: file.read_bytes() for name in names for file in folder.glob(name)}


def test_it_prints_and_keeps_figures_and_answers(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate(model, data, out) == cli.DONE
    printed = capsys.readouterr().out
    assert "gsm8k/test: 12 questions, differs from the published set: 1,319 rows" in printed
    figures = read(out / "gsm8k.test.json")
    rows = lines(out / "gsm8k.test.answers.jsonl")
    assert figures["n"] == len(rows) == 12
    assert {row["sample"] for row in rows} == {0}
    assert figures["correct"] == sum(row["outcome"] == "correct" for row in rows)
    outcomes = ("correct", "incorrect", "no_answer", "unparsed", "timeout")
    assert sum(figures[name] for name in outcomes) == 12
    assert figures["truncated"] == sum(row["finish"] == "length" for row in rows)
    assert figures["tokens"] == sum(row["tokens"] for row in rows) > 0
    assert figures["mean_length"] == figures["tokens"] / 12
    assert figures["first_prompt"] == f"{rows[0]['question']}\n"
    assert rows[0]["question"] in printed
    record = read(out / "evaluation.json")
    assert record["figures"] == [figures]
    assert "torch" in record["versions"]
    assert record["seconds"]["gsm8k/test"].keys() == {"generate", "verify", "write"}
    assert record["tasks"]["gsm8k/test"]["max_tokens"] == 8
    assert not list(out.glob("*.parts"))


def test_answers_are_read_by_the_convention_that_is_named(
    model: Path, data: Path, tmp_path: Path
) -> None:
    for name in ("gsm8k", "math"):
        assert evaluate(model, data, tmp_path / name, "--verifier", name, "--limit", "2") == 0
        assert read(tmp_path / name / "gsm8k.test.json")["verifier"] == name


def test_options_of_the_engine_change_no_answer(model: Path, data: Path, tmp_path: Path) -> None:
    options = ("--engine-option", "cache_gib=1e-4", "--engine-option", "fuse_layers=false")
    assert evaluate(model, data, tmp_path / "plain") == cli.DONE
    assert evaluate(model, data, tmp_path / "options", *options) == cli.DONE
    assert results(tmp_path / "options") == results(tmp_path / "plain")
    # They may change while an evaluation goes on.
    assert evaluate(model, data, tmp_path / "plain", *options) == cli.DONE


def test_again_it_shows_what_is_there_and_another_evaluation_is_refused(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    evaluate(model, data, out)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    capsys.readouterr()
    assert evaluate(model, data, out) == cli.DONE
    assert "gsm8k/test" in capsys.readouterr().out
    assert evaluate(model, data, out, "--seed", "1", "--limit", "5") == cli.REFUSED
    printed = capsys.readouterr().err
    assert "seed was 0 and is now 1" in printed
    assert "evaluate.limit was null and is now 5" in printed
    after = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert {f: b for f, b in before.items() if f.name != "lock"} == {
        f: b for f, b in after.items() if f.name != "lock"
    }
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    assert evaluate(model, data, tmp_path / "mine") == cli.REFUSED
    assert "is not empty" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_weight_that_changed_is_another_model(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "model"
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert evaluate(copy, data, tmp_path / "out") == cli.DONE
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert evaluate(copy, data, tmp_path / "out") == cli.REFUSED
    assert "model_fingerprint was" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", "there is no such folder"),
        ("", "it is a run's folder; look in"),
        ("iterations", "it has no config.json"),
    ],
)
def test_what_is_no_model_is_told(
    folder: str, message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "iterations").mkdir()
    assert evaluate(tmp_path / folder, data, tmp_path / "out") == cli.REFUSED
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tasks", "gsm9k"], "Did you mean 'gsm8k'?"),
        (["--tasks", "gsm8k/nothing"], "no split 'nothing'"),
        (["--tasks", "openai/gsm8k/dev"], "gsm8k has no split 'dev'"),
        (["--tasks", "gsm8k,openai/gsm8k/test"], "gsm8k/test is named 2 times"),
        (["--prompt", "chat"], "has no chat template"),
        (["--samples", "1001"], "at most 1000"),
        (["--temperature", "0.3"], "temperature is 0.3 and decides nothing without samples"),
        (["--splitter", "step_k"], "splitter is step_k and decides nothing without reward_model"),
        (["--reward-dtype", "bfloat16"], "reward_dtype is bfloat16 and decides nothing without"),
        (["--seed", "-1"], "--seed is -1, must be 0 or more"),
        (["--engine", "nativ"], "Did you mean 'native'?"),
        (["--engine-option", "cache_gb=1"], "Did you mean cache_gib?"),
        (["--engine-option", "cache_gib=much"], "engine_options.cache_gib"),
        (["--engine-option", "cache_gib"], "an override is written key.path=value"),
        (["--prompt", "plane"], "Did you mean 'plain'?"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--verifier", "meth"], "Did you mean 'math'?"),
        (["--max-tokens", "1000"], "context of 256"),
        (["--max-tokens", "0"], "max_tokens: Input should be greater than 0, found 0"),
        (["--samples", "2", "--k", "1,4"], "k 4 needs as many samples"),
        (["--reward-model", "rm"], "raise samples"),
    ],
)
def test_it_refuses_what_cannot_work(
    more: list[str],
    message: str,
    model: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(model, data, tmp_path / "out", *more) == cli.REFUSED
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


def test_rows_without_a_field_are_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.parent.mkdir()
    file.write_text('{"question": "1 and 1?"}\n', encoding="utf-8")
    assert evaluate(model, tmp_path, tmp_path / "out") == cli.REFUSED
    assert "test.jsonl, line 1: no field 'answer'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "half \ud800", "answer": "#### 2"}, "line 1: field 'question' has half"),
        ({"question": "and?", "answer": "#### \\frac{1}{"}, "no question is left to ask"),
    ],
)
def test_rows_that_cannot_be_asked_are_refused(
    row: dict[str, str],
    message: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.parent.mkdir()
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert evaluate(model, tmp_path, tmp_path / "out") == cli.REFUSED
    assert message in capsys.readouterr().err


def test_a_prompts_examples_come_from_the_folder_for_made_questions_too(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gsm8k").mkdir()
    rows = (data / "gsm8k" / "train.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "gsm8k" / "train.jsonl").write_bytes(b"".join(rows[:5]))
    more = ("--tasks", "arithmetic/test ", "--limit", "2", "--prompt", "lm_eval_gsm8k")
    assert evaluate(model, tmp_path, tmp_path / "out", *more) == cli.REFUSED
    assert "draws 5 examples from gsm8k's training split, found 5" in capsys.readouterr().err
    assert evaluate(model, data, tmp_path / "out", *more) == cli.REFUSED
    assert "context of 256" in capsys.readouterr().err


def test_names_of_the_data_are_neither_markup_nor_formulas(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "math500" / "test.jsonl"
    file.parent.mkdir()
    rows = [
        {"problem": f"{i}?", "solution": "2", "answer": "2", "subject": name, "level": 1,
         "unique_id": str(i)}
        for i, name in enumerate(("[/b] one", r"two $\foo$"))
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    more = ("--tasks", "math500")
    assert evaluate(model, tmp_path, tmp_path / "out", *more) == cli.DONE
    assert "[/b] one" in capsys.readouterr().out


def test_models_without_eos_or_pad_are_refused(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer

    for missing, message in (("eos_token", "has no EOS token"), ("pad_token", "has no pad token")):
        broken = tmp_path / missing
        broken.mkdir()
        for file in model.iterdir():
            (broken / file.name).write_bytes(file.read_bytes())
        tokenizer = AutoTokenizer.from_pretrained(model)
        setattr(tokenizer, missing, None)
        tokenizer.save_pretrained(broken)
        assert evaluate(broken, data, tmp_path / f"out-{missing}") == cli.REFUSED
        assert message in capsys.readouterr().err
    said = ("--pad-token", "<eos>")
    assert evaluate(tmp_path / "pad_token", data, tmp_path / "out", *said) == cli.DONE


def test_without_a_length_answers_get_what_fits_and_that_is_said(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(model), "--tasks", "gsm8k", "--data", str(data)]
    assert cli.main([*command, "--output", str(tmp_path / "out")]) == cli.DONE
    figures = read(tmp_path / "out" / "gsm8k.test.json")
    assert 150 < figures["max_tokens"] < 256
    said = f"answers have at most {figures['max_tokens']} tokens: the context is 256"
    assert said in capsys.readouterr().out
    longest = max(row["tokens"] for row in lines(tmp_path / "out" / "gsm8k.test.answers.jsonl"))
    assert longest <= figures["max_tokens"]


def test_prompts_with_examples_of_the_data_and_their_stop_strings(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    tokenizer = making.make_tokenizer("bpe", ["Question: 1+2=\nAnswer: 3\n#### 3"], 300)
    shape = making.ModelShape(width=32, layers=1, heads=2, context=1024)
    making.make_policy(tokenizer, shape, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert evaluate(folder, data, tmp_path / "out", "--prompt", "lm-eval-gsm8k") == cli.DONE
    figures = read(tmp_path / "out" / "gsm8k.test.json")
    train = lines(data / "gsm8k" / "train.jsonl")
    shown = "".join(
        f"Question: {row['question']}\nAnswer: {row['answer']}\n\n"
        for row in random.Random(1234).sample(train, 5)
    )
    asked = lines(tmp_path / "out" / "gsm8k.test.answers.jsonl")[0]["question"]
    assert figures["first_prompt"] == f"{shown}Question: {asked}\nAnswer:"
    assert figures["stop"] == ["Question:", "</s>", "<|im_end|>"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_alike(model: Path, tmp_path: Path, real_data: Path) -> None:
    more = ("--limit", "700", "--max-tokens", "24", "--samples", "3", "--quiet")
    more += ("--tasks", "arithmetic")
    assert evaluate(model, real_data, tmp_path / "whole", *more) == cli.DONE
    broken = tmp_path / "broken"
    command = [sys.executable, "-m", "pipelines.cli", *arguments(model, real_data, broken, *more)]
    parts = broken / "arithmetic.test.answers.parts"
    kills = 0
    for least in (1, 3):
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(parts.glob("*.jsonl"))) < least:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills == 2
    kept = {file.name: file.stat().st_mtime_ns for file in parts.glob("*.jsonl")}
    assert kept
    assert not (broken / "evaluation.json").exists()
    # What a kill in the middle of a write leaves behind is not taken for rows.
    (parts / "9999999-9999999.jsonl.new").write_text('{"problem_id": "cut', encoding="utf-8")
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL)
    assert results(broken) == results(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_share_the_questions(model: Path, data: Path, tmp_path: Path) -> None:
    more = ("--samples", "2")
    assert evaluate(model, data, tmp_path / "one", *more) == cli.DONE
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--multi_gpu", "--main_process_port", "0", "-m", "pipelines.cli"]
    command = [*launch, *arguments(model, data, tmp_path / "two", *more)]
    shown = subprocess.run(
        command,
        env={**environment(), "ACCELERATE_USE_CPU": "true"},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout
    assert shown.count("first prompt") == 1
    one, two = (lines(tmp_path / name / "gsm8k.test.answers.jsonl") for name in ("one", "two"))
    assert [(row["problem_id"], row["sample"]) for row in two] == [
        (row["problem_id"], row["sample"]) for row in one
    ]
    greedy = [[row["response"] for row in rows if row["sample"] == 0] for rows in (one, two)]
    assert greedy[0] == greedy[1]


@pytest.fixture(scope="module")
def judge(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from reward_models.model import RewardModel

    folder = tmp_path_factory.mktemp("judge")
    RewardModel.from_backbone(model, seed=3).save(folder)
    return folder


def test_samples_give_metrics_for_each_k_and_the_greedy_figures_stay(
    model: Path, data: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from reward_models.model import RewardModel

    evaluate(model, data, tmp_path / "greedy")
    out = tmp_path / "out"
    more = ("--samples", "5", "--temperature", "1", "--reward-model", str(judge))
    assert evaluate(model, data, out, *more) == cli.DONE
    figures = read(out / "gsm8k.test.json")
    samples = figures.pop("samples")
    assert figures == read(tmp_path / "greedy" / "gsm8k.test.json")
    names = ("pass", "maj", "rm_min", "rm_product", "rm_last", "rm_mean")
    assert tuple(samples["metrics"]) == names
    assert all(list(by_k) == ["1", "2", "4"] for by_k in samples["metrics"].values())
    rows = lines(out / "gsm8k.test.answers.jsonl")
    scores = lines(out / "gsm8k.test.scores.jsonl")
    assert samples["answers"] == len(scores) == 60
    assert [row["sample"] for row in rows] == list(range(6)) * 12
    sampled = [row for row in rows if row["sample"]]
    values = RewardModel.load(judge).score(
        [row["question"] for row in sampled],
        [row["response"] for row in sampled],
        [scored["ends"] for scored in scores],
    )
    for row, scored, said in zip(sampled, scores, values, strict=True):
        assert scored["values"][:-1] == pytest.approx(said[:-1], abs=1e-5)
        assert scored["values"][-1] in (0.0, pytest.approx(said[-1], abs=1e-5))
        assert (row["problem_id"], row["sample"]) == (scored["problem_id"], scored["sample"])
        assert scored["ends"][-1] == len(row["response"])
        assert len(scored["values"]) == len(scored["ends"])
        assert row["finish"] == "stop" or scored["values"][-1] == 0.0
    assert len({row["response"] for row in sampled}) > 12
    pictures = {file.name for file in out.glob("*.png")}
    assert pictures == {"accuracy.png", "gsm8k.test.samples.png"}
    assert "rm@k (product)" in capsys.readouterr().out
    assert read(out / "evaluation.json")["seconds"]["gsm8k/test"].keys() >= {"generate", "score"}


def test_who_chooses_may_have_smaller_weights(
    model: Path, data: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reward_models.model import RewardModel

    weights: list[torch.dtype] = []
    score = RewardModel.score

    def watched(judge: RewardModel, *rows: Any, **options: Any) -> Any:
        weights.append(judge.model.dtype)
        return score(judge, *rows, **options)

    monkeypatch.setattr(RewardModel, "score", watched)
    for name, dtype in (("auto", torch.float32), ("bfloat16", torch.bfloat16)):
        out = tmp_path / name
        more = ("--samples", "2", "--reward-model", str(judge), "--reward-dtype", name)
        assert evaluate(model, data, out, *more) == cli.DONE
        assert set(weights) == {dtype}
        assert read(out / "gsm8k.test.json")["samples"]["reward_dtype"] == name
        weights.clear()


@pytest.mark.parametrize("kind", ["answers", "scores"])
def test_rows_that_are_missing_are_no_smaller_task(
    model: Path, data: Path, judge: Path, tmp_path: Path, kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    more = ("--samples", "2", "--reward-model", str(judge))
    assert evaluate(model, data, out, *more) == cli.DONE
    figures = (out / "gsm8k.test.json").read_bytes()
    file = out / f"gsm8k.test.{kind}.jsonl"
    rows = file.read_bytes().splitlines(keepends=True)
    for kept in (rows[6:], rows[:-3], [*rows[1:], rows[0]], [*rows, rows[-1]]):
        file.write_bytes(b"".join(kept))
        assert evaluate(model, data, out, *more) == cli.REFUSED
        assert f"{file}: {len(kept)} rows that are not the {len(rows)}" in capsys.readouterr().err
        assert (out / "gsm8k.test.json").read_bytes() == figures
    file.unlink()
    assert evaluate(model, data, out, *more) == cli.DONE
    assert file.read_bytes() == b"".join(rows)


def test_who_chooses_may_change_until_the_figures_are_there(
    model: Path, data: Path, judge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    samples = ("--samples", "2", "--reward-model", str(judge))
    assert evaluate(model, data, out, *samples) == cli.DONE
    # As it lies there when it is killed before its figures are written.
    for file in ("evaluation.json", "gsm8k.test.json"):
        (out / file).unlink()
    written = (out / "gsm8k.test.answers.jsonl").stat().st_mtime_ns
    assert evaluate(model, data, out, *samples, "--splitter", "sentences") == cli.DONE
    assert (out / "gsm8k.test.answers.jsonl").stat().st_mtime_ns == written
    assert read(out / "gsm8k.test.json")["samples"]["splitter"] == "sentences"
    assert evaluate(model, data, out, *samples) == cli.REFUSED
    assert 'evaluate.splitter was "sentences" and is now "lines"' in capsys.readouterr().err


def test_a_reward_model_that_is_none_is_refused_before_anything_is_answered(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, phase, empty = (tmp_path / name for name in ("run", "phase", "empty"))
    for folder in (run / "iterations", phase / "model", empty):
        folder.mkdir(parents=True)
    (phase / "config.json").write_text('{"a": 1}', encoding="ascii")
    for name, message in (
        ("/no/judge", "there is no such folder"),
        (str(model), "not a reward model"),
        (str(run), f"look in {run}/iterations/NN/retrain/model"),
        (str(phase), f"look in {phase}/model"),
        (str(empty), "it has no config.json"),
    ):
        more = ("--samples", "2", "--reward-model", name)
        assert evaluate(model, data, tmp_path / "out", *more) == cli.REFUSED
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_an_engine_that_reads_checkpoints_gets_the_path(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with checkpoint_engine.added(tmp_path / "engines") as server:
        named = "--engine", checkpoint_engine.NAME
        assert evaluate(model, data, tmp_path / "server", *named) == cli.DONE
        assert [model] == server.OPENED == server.CLOSED
        # All is answered: nothing has to start again.
        assert evaluate(model, data, tmp_path / "server", *named) == cli.DONE
        # Nor for prompts that do not fit.
        more = "--max-tokens", "100000"
        assert evaluate(model, data, tmp_path / "long", *named, *more) == cli.REFUSED
        assert [model] == server.OPENED == server.CLOSED
        broken = tmp_path / "broken"
        broken.symlink_to(model)
        assert evaluate(broken, data, tmp_path / "no", *named) == cli.REFUSED
    assert "the server is not installed here" in capsys.readouterr().err
    assert evaluate(model, data, tmp_path / "native") == cli.DONE
    assert results(tmp_path / "server") == results(tmp_path / "native")
