"""Commands beside `run`: evaluate, verify, report, configs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import cli, making
from tests.pipelines import toy


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = making.make_tokenizer("bpe", ["1+2=3\n#### 3"], 270)
    shape = making.ModelShape(width=32, layers=2, heads=2, context=256)
    making.make_policy(tokenizer, shape, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def evaluate(model: Path, data: Path, output: Path, *more: str) -> int:
    arguments = ["evaluate", str(model), "--tasks", "gsm8k", "--data", str(data)]
    return cli.main([*arguments, "--max-tokens", "8", "--output", str(output), *more])


def test_evaluate_prints_and_keeps_figures_and_answers(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.write_data(tmp_path / "data")
    assert evaluate(model, data, tmp_path / "out") == cli.DONE
    assert "gsm8k/test: 12 problems" in capsys.readouterr().out
    figures = json.loads((tmp_path / "out" / "gsm8k.test.json").read_text(encoding="utf-8"))
    answers = (tmp_path / "out" / "gsm8k.test.answers.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in answers.splitlines()]
    assert figures["n"] == len(rows) == 12
    assert figures["correct"] == sum(row["outcome"] == "correct" for row in rows)
    outcomes = ("correct", "incorrect", "no_answer", "unparsed", "timeout")
    assert sum(figures[name] for name in outcomes) == 12
    assert figures["truncated"] == sum(row["finish"] == "length" for row in rows)
    assert "torch" in figures["versions"]
    assert evaluate(model, data, tmp_path / "out") == cli.REFUSED
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--tasks", "gsm9k"], "Did you mean 'gsm8k'?"),
        (["--tasks", "gsm8k/nothing"], "no split 'nothing'"),
        (["--engine", "nativ"], "Did you mean 'native'?"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--max-tokens", "1000"], "context"),
    ],
)
def test_evaluate_refuses_what_cannot_work(
    more: list[str],
    message: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = toy.write_data(tmp_path / "data")
    assert evaluate(model, data, tmp_path / "out", *more) == cli.REFUSED
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def test_models_without_eos_or_pad_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer

    data = toy.write_data(tmp_path / "data")
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


def test_verify_writes_verdicts_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.jsonl"
    rows = [
        {"response": r"so \boxed{\frac{1}{2}}", "answer": "0.5"},
        {"response": r"so \boxed{3}", "answer": "0.5"},
        {"response": "I do not know", "answer": "0.5"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert cli.main(["verify", str(file)]) == cli.DONE
    written = (tmp_path / "answers.verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = [json.loads(line)["outcome"].lower() for line in written]
    assert outcomes == ["correct", "incorrect", "no_answer"]
    capsys.readouterr()
    assert cli.main(["verify", str(file)]) == cli.REFUSED
    assert "answers.verdicts.jsonl" in capsys.readouterr().err


def test_report_refuses_a_folder_that_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path)]) == cli.REFUSED
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_configs_lists_what_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["configs"]) == cli.DONE
    printed = capsys.readouterr().out
    for name in ("arithmetic", "gsm8k_tiny", "gsm8k_outcome", "gsm8k_process", "math_process"):
        assert name in printed
