"""Step checkpoints: the last whole one counts, whatever a killed process has left beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import checkpoints


def write(folder: Path, step: int) -> Path:
    place = folder / f"checkpoint-{step}"
    (place / "inner").mkdir(parents=True)
    (place / "weights").write_text(f"weights of {step}", encoding="utf-8")
    (place / "inner" / "optimizer").write_text(f"moments of {step}", encoding="utf-8")
    return place


def test_the_newest_sealed_checkpoint_counts_and_is_the_only_one(tmp_path: Path) -> None:
    assert checkpoints.last(tmp_path / "nowhere") is None
    for step in (8, 9, 10):  # 10 is later than 9
        write(tmp_path, step)
        assert checkpoints.last(tmp_path) == (
            None if step == 8 else tmp_path / f"checkpoint-{step - 1}"
        )
        checkpoints.seal(tmp_path, step)
    assert [it.name for it in tmp_path.iterdir()] == ["checkpoint-10"]
    assert checkpoints.step(tmp_path / "checkpoint-10") == 10


@pytest.mark.parametrize("name", ["weights", "inner/optimizer", checkpoints.RECORD])
@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"")])
def test_one_that_lost_a_file_does_not_count(tmp_path: Path, name: str, damage: object) -> None:
    place = write(tmp_path, 2)
    checkpoints.seal(tmp_path, 2)
    assert checkpoints.last(tmp_path) == place
    assert callable(damage)
    damage(place / name)
    assert checkpoints.last(tmp_path) is None


def test_what_is_left_of_others_is_removed(tmp_path: Path) -> None:
    write(tmp_path, 2)
    checkpoints.seal(tmp_path, 2)
    write(tmp_path, 3)
    (tmp_path / "README.md").write_text("TRL's", encoding="utf-8")
    (tmp_path / "checkpoint-best").mkdir()
    checkpoints.keep_only(tmp_path, checkpoints.last(tmp_path))
    kept = ["README.md", "checkpoint-2", "checkpoint-best"]
    assert sorted(it.name for it in tmp_path.iterdir()) == kept


def test_the_later_one_counts_where_the_earlier_is_still_there(tmp_path: Path) -> None:
    write(tmp_path, 9)
    checkpoints.seal(tmp_path, 9)
    write(tmp_path / "beside", 10)
    checkpoints.seal(tmp_path / "beside", 10)
    (tmp_path / "beside" / "checkpoint-10").rename(tmp_path / "checkpoint-10")
    assert checkpoints.last(tmp_path) == tmp_path / "checkpoint-10"


def test_where_none_is_whole_all_are_removed(tmp_path: Path) -> None:
    write(tmp_path, 2)
    checkpoints.keep_only(tmp_path, checkpoints.last(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("record", ["[]", "null", "3", "{}", '{"weights": 1}'])
def test_a_record_of_something_else_does_not_count(record: str, tmp_path: Path) -> None:
    (write(tmp_path, 2) / checkpoints.RECORD).write_text(record, encoding="utf-8")
    assert checkpoints.last(tmp_path) is None
