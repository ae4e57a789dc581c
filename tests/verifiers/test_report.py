"""Verifying files: rows kept in order, faults named by line, nothing half-written."""

import json
from pathlib import Path
from typing import Any

import pytest

from verifiers import Outcome, Policy, report, verify
from verifiers.batch import UnfitOption
from verifiers.report import VerifyFileError, verify_file


def _write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROWS: list[object] = [
    {"id": "a", "response": "\\boxed{4}", "answer": "4"},
    {"id": "b", "response": "\\boxed{5}", "answer": 4},
    {"id": "c", "response": "", "answer": "4", "outcome": "an old one"},
    {"id": "d", "response": "x \ud800 \\boxed{\u00bd}", "answer": "\\frac12"},
]


def test_rows_come_back_in_order_with_outcomes(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", ROWS * 3)
    summary = verify_file(source, tmp_path / "out.jsonl")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == list("abcd") * 3
    for row in written:
        verdict = verify(row["response"], row["answer"])
        said = row["outcome"], row["extracted"], row["reason"]
        assert said == (verdict.outcome.value, verdict.extracted, verdict.reason)
    assert summary.counts == {Outcome.CORRECT: 6, Outcome.INCORRECT: 3, Outcome.NO_ANSWER: 3}
    assert summary.rows == 12


def test_options_reach_the_verdicts(tmp_path: Path) -> None:
    row = {"response": "\\boxed{5}\nA: \\int_0^{10} x\\,dx", "answer": "50\\%"}
    source, target = _write(tmp_path / "in.jsonl", [row]), tmp_path / "out.jsonl"

    def outcome(**options: Any) -> Outcome:
        (found,) = verify_file(source, target, overwrite=True, **options).counts
        return found

    assert outcome(timeout=20) is Outcome.INCORRECT
    assert outcome(convention="gsm8k", timeout=20) is Outcome.CORRECT
    assert outcome(convention="gsm8k", timeout=1e-6) is Outcome.TIMEOUT
    value = Policy(percent="value")
    assert outcome(convention="gsm8k", timeout=20, policy=value) is Outcome.INCORRECT
    for unfit in ({"workers": 0}, {"timeout": 0.0}):
        with pytest.raises(UnfitOption):
            verify_file(tmp_path / "missing.jsonl", target, **unfit)


def test_summary_is_a_table_of_shares(tmp_path: Path) -> None:
    summary = verify_file(_write(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl")
    lines = [line.split() for line in summary.table().splitlines()]
    assert lines[0] == ["outcome", "rows", "share"]
    assert lines[1] == ["correct", "2", "50.0%"]
    assert lines[5] == ["timeout", "0", "0.0%"]
    assert lines[-1][:2] == ["all", "4"]
    empty = verify_file(_write(tmp_path / "none.jsonl", []), tmp_path / "nothing.jsonl")
    assert empty.rows == 0
    assert "all" in empty.table()


def test_a_file_larger_than_a_piece_keeps_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "PIECE_ROWS", 3)
    rows: list[object] = [{"response": str(i), "answer": str(i + i % 2)} for i in range(10)]
    verify_file(_write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in written] == ["correct", "incorrect"] * 5


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "not JSON"),
        ("[1]", "an object was expected, not list"),
        ('{"response": "1"}', "no field 'answer'; fields there: 'response'"),
        ('{"response": 1, "answer": "1"}', "'response' is int; a text was expected"),
        ('{"response": "1", "answer": null}', "'answer' is NoneType"),
        ('{"response": "1", "answer": true}', "'answer' is bool"),
        ('{"response": "1", "answer": ""}', "gold answer ''"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_broken_lines_are_named_and_leave_nothing_behind(
    tmp_path: Path, line: str, fault: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"response": "1", "answer": "1"}\n\n' + line + "\n")
    with pytest.raises(VerifyFileError) as caught:
        verify_file(source, tmp_path / "out.jsonl")
    assert str(caught.value).startswith(f"{source}, line 3: ")
    assert fault in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_folders_are_told_from_files(tmp_path: Path) -> None:
    with pytest.raises(VerifyFileError, match="a folder; give a file of JSON Lines"):
        verify_file(tmp_path, tmp_path / "out.jsonl")
    file = tmp_path / "in.jsonl"
    file.touch()
    with pytest.raises(VerifyFileError, match=r"there is no folder .*nowhere; make it first"):
        verify_file(file, tmp_path / "nowhere" / "out.jsonl")


def test_files_are_not_overwritten_unless_asked(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", ROWS)
    target = tmp_path / "out.jsonl"
    target.write_text("precious")
    with pytest.raises(VerifyFileError, match="exists"):
        verify_file(source, target)
    assert target.read_text() == "precious"
    with pytest.raises(VerifyFileError, match="is the input"):
        verify_file(source, source, overwrite=True)
    assert verify_file(source, target, overwrite=True).rows == 4
    with pytest.raises(VerifyFileError, match="no file that could be replaced"):
        verify_file(source, tmp_path, overwrite=True)
    with pytest.raises(VerifyFileError, match="no such file"):
        verify_file(tmp_path / "missing.jsonl", tmp_path / "other.jsonl")
