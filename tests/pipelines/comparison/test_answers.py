"""What is read as a side, and what is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.comparison.answers import NoAnswers, read
from tests.pipelines.comparison.folders import outcomes, row, write


def run_folder(path: Path, *iterations: int) -> Path:
    for iteration in iterations:
        folder = write(path / f"iterations/{iteration:02d}/evaluate", outcomes("correct"))
        (folder / "manifest.json").write_text("{}", encoding="utf-8")
    write(path / "iterations/09/evaluate.partial", outcomes("correct"))
    return path


def test_a_run_gives_its_last_evaluated_iteration_or_the_one_named(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", 0, 2, 10)
    assert read(run).place == str(run / "iterations/10/evaluate")
    assert read(run).name == "run-10"
    assert read(run, 2).place == str(run / "iterations/02/evaluate")
    with pytest.raises(NoAnswers, match=r"iteration 9 has not been evaluated.* 0, 2, 10"):
        read(run, 9)
    with pytest.raises(NoAnswers, match=r"evaluated are 9, 99, 100$"):
        read(run_folder(tmp_path / "long", 100, 99, 9), 7)
    (tmp_path / "young/iterations/01/sample").mkdir(parents=True)
    with pytest.raises(NoAnswers, match="no iteration of this run has been evaluated yet"):
        read(tmp_path / "young")


def test_what_made_the_answers_is_a_condition(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", 1)
    written = {"engine": "vllm", "policy": {"dtype": "float32"}, "optimize": {"bf16": True}}
    (run / "config.yaml").write_text(json.dumps(written), encoding="utf-8")
    alone = write(tmp_path / "alone", outcomes("correct"))
    (alone / "evaluation.json").write_text('{"engine": "native", "dtype": "float32", "seed": 1}')
    found = [
        {key: side.evaluations["gsm8k/test"].conditions[key] for key in ("engine", "dtype")}
        for side in (read(run), read(alone))
    ]
    assert found == [
        {"engine": "vllm", "dtype": "bfloat16"},
        {"engine": "native", "dtype": "float32"},
    ]


def test_rows_that_say_nothing_of_their_end_were_not_cut_off(tmp_path: Path) -> None:
    plain, cut = row(0, "correct"), row(1, "correct", finish="length")
    del plain["finish"]
    (evaluation,) = read(write(tmp_path / "a", [plain, cut])).evaluations.values()
    found = [it.greedy.truncated for it in evaluation.questions.values() if it.greedy]
    assert found == [False, True]


def test_rows_without_a_sample_are_numbered(tmp_path: Path) -> None:
    rows = outcomes("correct", "incorrect")
    for each in rows:
        del each["sample"]
    (evaluation,) = read(write(tmp_path / "a", [*rows, rows[0]])).evaluations.values()
    assert [list(it.answers) for it in evaluation.questions.values()] == [[0, 1], [0]]


def test_folders_without_a_finished_evaluation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoAnswers, match="no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(NoAnswers, match=r"holds no evaluation: .*found nothing"):
        read(tmp_path)
    folder = write(tmp_path / "a", outcomes("correct"))
    (folder / "gsm8k.test.json").unlink()
    with pytest.raises(NoAnswers, match=r"no gsm8k.test.json beside it: .* not finished"):
        read(folder)
    (folder / "gsm8k.test.json").write_text("[]", encoding="utf-8")
    with pytest.raises(NoAnswers, match="expected an evaluation's figures"):
        read(folder)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no answers in it"),
        (["{"], "line 1: not JSON"),
        (["[" * 100_000], "line 1: not JSON"),
        (["7"], "line 1: a JSON int"),
        ([json.dumps(row(0, "correct")), "{}"], "line 2: no text under problem_id, question"),
        (
            [json.dumps(row(0, "correct"))] * 2,
            "line 2: sample 0 of gsm8k/test/0 stands there twice",
        ),
        ([json.dumps(row(0, "correct", sample="x"))], "sample is 'x'"),
        ([json.dumps(row(0, "correct", sample=True))], "sample is True"),
        ([json.dumps(row(0, "correct", sample=-1))], "sample is -1"),
        (
            [json.dumps(row(0, "correct")), json.dumps(row(0, "correct", 1, question="Other?"))],
            "line 2: gsm8k/test/0 asks something else",
        ),
    ],
)
def test_damaged_answers_are_refused_with_their_line(
    lines: list[str], message: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "a", [])
    (folder / "gsm8k.test.answers.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(NoAnswers, match=message):
        read(folder)
