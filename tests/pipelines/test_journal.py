"""Chunks on disk: what was whole is there again, what was cut off is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import journal as journal_module
from pipelines.journal import Journal
from reward_models.types import BrokenLabels, LabelCost
from tests.reward_models.making import additions, solution

FIRST = additions(2, seed=0, steps=True)
SECOND = [solution(3, right=True, text="\u2028é")]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every chunk when it is there."""
    monkeypatch.setattr(journal_module, "EVERY", 0.0)


def test_rows_that_come_fast_wait_and_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(journal_module, "EVERY", 1.0)
    monkeypatch.setattr(journal_module.time, "monotonic", lambda: now)
    file = tmp_path / "work" / "journal.jsonl"
    journal = Journal(file)
    now = 0.9
    journal.append(FIRST, LabelCost(2, 1, 8, 100, 3))
    assert not file.exists()
    assert journal.rows == FIRST
    now = 1.0
    journal.append(SECOND, LabelCost(1, 1, 4, 20, 0))
    now = 1.9
    journal.append(FIRST, LabelCost(labels=2))
    again = Journal(file)
    assert (again.rows, again.cost) == (FIRST + SECOND, LabelCost(3, 2, 12, 120, 3))
    now = 2.0
    journal.append([], LabelCost())
    again = Journal(file)
    assert again.rows == journal.rows == FIRST + SECOND + FIRST
    assert again.cost == journal.cost == LabelCost(5, 2, 12, 120, 3)


def test_chunks_come_back_in_order_with_their_cost(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(FIRST, LabelCost(2, 1, 8, 100, 3))
    journal.append(SECOND, LabelCost(1, 1, 4, 20, 0))
    again = Journal(tmp_path / "journal.jsonl")
    assert again.rows == journal.rows == FIRST + SECOND
    assert again.cost == journal.cost == LabelCost(3, 2, 12, 120, 3)


def test_a_chunk_that_was_cut_off_is_dropped_wherever_it_was_cut(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    journal = Journal(file)
    journal.append(FIRST, LabelCost(labels=2))
    kept = file.read_bytes()
    journal.append(SECOND, LabelCost(labels=1))
    whole = file.read_bytes()
    for cut in range(len(kept), len(whole)):
        file.write_bytes(whole[:cut])
        again = Journal(file)
        assert (again.rows, again.cost) == (FIRST, LabelCost(labels=2))
        assert file.read_bytes() == kept
    again.append(SECOND, LabelCost(labels=1))
    assert file.read_bytes() == whole


def test_an_edited_journal_is_named(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    Journal(file).append(FIRST, LabelCost(labels=2))
    file.write_bytes(b"{}\n" + file.read_bytes())
    with pytest.raises(BrokenLabels, match=r"journal\.jsonl:1"):
        Journal(file)
