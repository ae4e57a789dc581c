"""A whole small run: what was left out is nowhere in it, and another list of tasks is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import cli, comparison, run
from pipelines.artifacts import ArtifactError
from tests.pipelines import toy
from tests.pipelines.datasets.rows import write


@pytest.mark.slow
def test_a_run_trains_on_no_question_of_its_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.write_data(tmp_path / "data")
    train = (data / "gsm8k/train.jsonl").read_text(encoding="utf-8").splitlines()
    asked = [json.loads(line) for line in train[:40]]
    write(data / "gsm8k/test.jsonl", asked)
    write(data / "svamp/test.jsonl", [
        {"Body": "A farm has 12 cows.", "Question": "How many legs?", "Answer": "48.0"}
    ])  # fmt: skip
    small = ["reward=verifier", "iterations=1", "optimize.steps=2", "policy.warm_start.steps=5"]
    run(toy.config(tmp_path, data, *small))
    folder = tmp_path / "run"
    record = json.loads((folder / "decontamination.json").read_text(encoding="utf-8"))
    left_out = set(record["left_out"])
    assert 30 <= len(left_out) <= 40  # the others are questions of the validation split
    drawn = (folder / "iterations/01/optimize/questions.jsonl").read_text(encoding="utf-8")
    trained = {json.loads(line)["question"] for line in drawn.splitlines()}
    assert trained
    assert not trained & {row["question"] for row in asked}
    assert "left out gsm8k/train/" in capsys.readouterr().err

    with pytest.raises(ArtifactError, match=r"start .*data\.decontaminated was \"\d\d questions.*"):
        run(toy.config(tmp_path, data, *small, "evaluate.tasks=[svamp]"))

    done = comparison.compare(folder / "iterations/00/evaluate", folder, output=tmp_path / "made")
    assert "gsm8k/test" in done.text
    figures = json.loads((folder / "iterations/01/evaluate/gsm8k.test.json").read_text())
    task = json.loads((tmp_path / "made/comparison.json").read_text())["tasks"]["gsm8k/test"]
    assert (task["questions"], task["correct"]["second"]) == (40, figures["correct"])
    assert task["notes"] == []
    assert cli.main(["compare", str(folder), str(folder), "--output", str(tmp_path / "made")]) == 0
