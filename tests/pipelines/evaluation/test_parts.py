"""Rows on their way: what is missing, who makes it, and what a kill leaves behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch.distributed

from pipelines.artifacts import ArtifactError
from pipelines.evaluation.parts import Parts
from pipelines.progress import Progress
from pipelines.world import World


def rows(run: range) -> list[dict[str, int]]:
    return [{"number": number} for number in run]


def fill(parts: Parts, questions: int, made: list[range]) -> None:
    def make(run: range) -> tuple[list[dict[str, int]], dict[str, float]]:
        made.append(run)
        return rows(run), {"generate": 1.0}

    parts.fill(questions, 4, make, World(), Progress(quiet=True), "test")


def test_gaps_are_filled_and_nothing_is_made_twice(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "task")
    parts.add(range(3, 6), rows(range(3, 6)), {"generate": 2.0})
    assert parts.missing(11, 4) == [range(3), range(6, 10), range(10, 11)]
    made: list[range] = []
    fill(parts, 11, made)
    assert made == [range(3), range(6, 10), range(10, 11)]
    assert list(parts.rows()) == rows(range(11))
    assert parts.seconds()["generate"] == 5.0
    assert sorted(item.name for item in tmp_path.iterdir()) == ["log", "task.jsonl"]
    fill(parts, 11, made)
    assert len(made) == 3


def test_a_part_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "task")
    parts.add(range(4), rows(range(4)), {})
    (tmp_path / "task.parts" / "0000004-0000008.jsonl.new").write_text('{"num', encoding="utf-8")
    assert parts.missing(8, 4) == [range(4, 8)]


def test_killed_between_joining_and_cleaning_up_it_keeps_the_whole(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "task")
    parts.add(range(2), rows(range(2)), {"generate": 1.0})
    shutil.copytree(tmp_path / "task.parts", tmp_path / "before")
    parts.join()
    (tmp_path / "before").rename(tmp_path / "task.parts")
    parts.join()
    assert list(parts.rows()) == rows(range(2))
    assert not (tmp_path / "task.parts").exists()


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "task")
    parts.add(range(2), rows(range(2)), {})
    parts.join()
    whole = parts.whole.read_text(encoding="utf-8")
    parts.whole.write_text(whole[:-4], encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"task\.jsonl, line 2: not JSON"):
        list(parts.rows())


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_processes_share_all_questions_without_overlap(size: int, tmp_path: Path) -> None:
    at_once = min(4, -(-11 // size))
    runs = Parts(tmp_path, "task").missing(11, at_once)
    shares = [runs[rank::size] for rank in range(size)]
    asked = sorted(number for share in shares for run in share for number in run)
    assert asked == list(range(11))
    assert size > 6 or all(shares)


@pytest.mark.parametrize(("rank", "share"), [(0, [range(3)]), (1, [range(3, 5)])])
def test_each_process_makes_its_share_of_few_questions_too(
    rank: int, share: list[range], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)
    made: list[range] = []

    def make(run: range) -> tuple[list[dict[str, int]], dict[str, float]]:
        made.append(run)
        return rows(run), {}

    # Eight at once would leave nothing to the other process.
    Parts(tmp_path, "task").fill(5, 8, make, World(rank, 2), Progress(quiet=True), "test")
    assert made == share


@pytest.mark.parametrize("size", [1, 3, 8])
def test_processes_make_about_as_many(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)
    monkeypatch.setattr(Parts, "join", lambda _: None)
    parts = Parts(tmp_path, "task")
    parts.add(range(40, 60), rows(range(40, 60)), {})
    made: list[list[range]] = [[] for _ in range(size)]
    todo = parts.missing(5_000, 512)
    assert sum(map(len, todo)) == 4_980
    monkeypatch.setattr(Parts, "add", lambda *_: None)
    for rank in range(size):

        def make(run: range, rank: int = rank) -> tuple[list[dict[str, int]], dict[str, float]]:
            made[rank].append(run)
            return [], {}

        parts.fill(5_000, 512, make, World(rank, size), Progress(quiet=True), "test")
    found = sorted((run for own in made for run in own), key=lambda run: run.start)
    assert [i for run in found for i in run] == [*range(40), *range(60, 5_000)]
    assert max(map(len, found)) <= 512
    counts = [sum(map(len, own)) for own in made]
    # The rest beside the gap is a run of its own.
    assert max(counts) - min(counts) <= 512 / size + 40
