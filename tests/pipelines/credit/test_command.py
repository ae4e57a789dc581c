"""`iterative-grpo compare-credit` from the outside: files, exit codes, and nothing else touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import cli, credit
from tests.pipelines.credit.synthetic import write_run


def files(run: Path) -> dict[str, bytes]:
    return {str(f.relative_to(run)): f.read_bytes() for f in run.rglob("*") if f.is_file()}


def test_writes_to_its_own_folder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run")
    (run / "credit" / "02").mkdir(parents=True)
    (run / "credit" / "02" / "notes.txt").write_text("mine", encoding="utf-8")
    before = files(run)
    assert cli.main(["compare-credit", str(run), "--limit", "3"]) == cli.DONE
    after = files(run)
    assert {name: after[name] for name in before} == before
    made = ["bias.json", "solutions.jsonl", *(f"solution_{n:03d}.png" for n in (1, 2, 3))]
    assert set(after) - set(before) == {f"credit/02/{name}" for name in made}
    printed = capsys.readouterr().out
    assert printed.count("policy step") == 3
    assert "Correlation of the first token's advantage" in printed


def test_json_has_all_solutions_whatever_the_limit(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    done = credit.compare(run, iteration=1, limit=0)
    assert [file.name for file in done.files] == ["solutions.jsonl", "bias.json"]
    rollouts = (run / "iterations/01/optimize/rollouts.jsonl").read_text(encoding="utf-8")
    sources = {(r["problem_id"], r["sample"]): r for r in map(json.loads, rollouts.splitlines())}
    rows = [json.loads(x) for x in done.files[0].read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(sources) == 16
    for row in rows:
        source = sources[row["problem_id"], row["sample"]]
        for key in ("step", "text", "ends", "rewards", "correct", "tokens"):
            assert row[key] == source[key]
        assert row["stored"] == source["advantages"]
        assert row["advantages"]["sum"] == pytest.approx(source["advantages"])
    summary = json.loads(done.files[1].read_text(encoding="utf-8"))
    assert (summary["iteration"], summary["trained_with"], summary["solutions"]) == (1, "sum", 16)
    keys = {"rule", "kind", "solutions", "mean", "steps", "tokens"}
    assert all(set(row) == keys for row in summary["bias"])


def test_a_second_comparison_leaves_no_picture_of_the_first(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    credit.compare(run, limit=3)
    first = files(run)
    other = run / "credit" / "02" / "solution_of_mine.png"
    other.write_bytes(b"mine")
    credit.compare(run, limit=1)
    gone = {"credit/02/solution_002.png", "credit/02/solution_003.png"}
    assert files(run) == {k: v for k, v in first.items() if k not in gone} | {
        "credit/02/solution_of_mine.png": b"mine"
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--iteration", "9"], "no rollouts of iteration 9; it has those of 1, 2"),
        (["--limit", "-1"], "expected 0 or more"),
    ],
)
def test_refuses_what_is_not_there(
    tmp_path: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run")
    assert cli.main(["compare-credit", str(run), *arguments]) == cli.REFUSED
    assert expected in capsys.readouterr().err
    assert not (run / "credit").exists()


def test_refuses_a_run_without_rollouts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", iterations=0)
    assert cli.main(["compare-credit", str(run)]) == cli.REFUSED
    assert "no iteration has finished its policy phase" in capsys.readouterr().err
    assert cli.main(["compare-credit", str(tmp_path)]) == cli.REFUSED
    assert "is no run directory" in capsys.readouterr().err
