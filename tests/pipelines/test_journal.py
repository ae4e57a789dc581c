"""Chunks on disk: what was whole is there again, what was cut off is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.journal import Journal
from reward_models.types import BrokenLabels, LabelCost
from tests.reward_models.making import additions, solution

FIRST = additions(2, seed=0, steps=True)
SECOND = [solution(3, right=True, text="\u2028é")]


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
