"""The command: what it prints, writes, leaves alone and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import cli
from tests.pipelines.comparison.folders import outcomes, row, write
from tests.pipelines.report.synthetic_run import HOSTILE
from tests.pipelines.report.test_page import parse


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    hostile = {"question": HOSTILE, "response": HOSTILE + "\ud800", "finish": "length"}
    write(tmp_path / "a", [*outcomes("correct", "correct"), row(2, "no_answer", **hostile)])
    write(tmp_path / "b", [
        *outcomes("incorrect", "correct"),
        row(2, "correct", **hostile | {"extracted": HOSTILE, "finish": "stop"}),
    ])  # fmt: skip
    return ["a", "b"]


def test_prints_and_writes_the_same_figures(
    sides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", *sides, "--output", "made"]) == 0
    said = capsys.readouterr().out
    for expected in ("66.7%", "+0.0 [", "right in B only, 1", "right in A only, 1", "gsm8k/test/0"):
        assert expected in said
    assert "\x1b" not in said
    record = json.loads((tmp_path / "made/comparison.json").read_text(encoding="utf-8"))
    task = record["tasks"]["gsm8k/test"]
    assert (task["questions"], task["correct"]["gained"], task["correct"]["lost"]) == (3, 1, 1)
    assert task["correct"]["p"] == 1.0
    assert [it["id"] for it in task["switched"]] == ["gsm8k/test/2", "gsm8k/test/0"]
    assert {it["name"]: it["p"] for it in task["fates"]}["truncated"] == 1.0


def test_the_page_is_whole_and_deaf_to_what_models_write(sides: list[str], tmp_path: Path) -> None:
    assert cli.main(["compare", *sides, "--output", "made"]) == 0
    tree = parse(tmp_path / "made/comparison.html")
    assert "<script>alert('x')</script>" in tree.text
    assert not {"script", "img", "link", "b"} & {tag for tag, _ in tree.tags}
    assert "Right in B only: 1" in tree.text
    assert "A: no answer, truncated" in tree.text
    raw = (tmp_path / "made/comparison.html").read_text(encoding="utf-8")
    assert not any(mark in raw for mark in "\u202e\x00\x1b")


def test_every_pair_has_its_own_folder_and_is_made_again_in_it(
    sides: list[str], tmp_path: Path
) -> None:
    for _ in range(2):
        assert cli.main(["compare", *sides]) == 0
        assert cli.main(["compare", *sides[::-1]]) == 0
    assert len(list((tmp_path / "comparisons").iterdir())) == 2


def test_a_folder_of_others_is_left_alone(
    sides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted((tmp_path / "a").iterdir())
    assert cli.main(["compare", *sides, "--output", "a"]) == 2
    assert "holds no comparison" in capsys.readouterr().err
    assert sorted((tmp_path / "a").iterdir()) == before


def test_a_mistake_is_a_message(
    sides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "c", outcomes("correct"))
    assert cli.main(["compare", "a", "c"]) == 2
    assert "3 in A, 1 in B, 1 in both" in capsys.readouterr().err
    assert not (tmp_path / "comparisons").exists()
    assert cli.main(["compare", "a", "nowhere"]) == 2
    assert "Traceback" not in capsys.readouterr().err
