"""The ledger: cells, bounded fair samples, and its file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from reward_models.ledger import CELLS, Judgement, Ledger, disputed, read_ledger


def judgement(number: int, score: float, *, correct: bool) -> Judgement:
    return Judgement(f"p{number}", f"text {number}", score, correct, step=number)


def test_cells_are_counted() -> None:
    ledger = Ledger()
    ledger.add([judgement(1, 0.9, correct=True), judgement(2, 0.5, correct=False)])
    ledger.add([judgement(3, 0.4, correct=True), judgement(4, 0.1, correct=False)])
    ledger.add([judgement(5, 0.8, correct=False)])
    assert list(ledger.counts.values()) == [1, 2, 1, 1]
    assert [kept.problem_id for kept in ledger.samples("liked wrong")] == ["p2", "p5"]
    assert [kept.problem_id for kept in ledger.samples("disliked right")] == ["p3"]


def test_samples_are_bounded_and_fair() -> None:
    seen: Counter[str] = Counter()
    for seed in range(400):
        ledger = Ledger(capacity=5, seed=seed)
        for start in range(0, 50, 10):
            ledger.add(judgement(n, 0.9, correct=False) for n in range(start, start + 10))
        assert len(ledger.samples("liked wrong")) == 5
        seen.update(kept.problem_id for kept in ledger.samples("liked wrong"))
    # 2,000 draws of 50: 40 each, five standard deviations are 30.
    assert len(seen) == 50
    assert all(10 < count < 70 for count in seen.values())


def test_every_output_of_a_cell_has_the_same_chance_whatever_the_others_hold() -> None:
    kept: Counter[str] = Counter()
    for seed in range(900):
        ledger = Ledger(capacity=1, seed=seed)
        ledger.add(judgement(n, 0.9, correct=True) for n in range(10, 16))
        ledger.add(judgement(n, 0.9, correct=False) for n in range(3))
        kept.update(sample.problem_id for sample in ledger.samples("liked wrong"))
    # 300 each, five standard deviations are 71.
    assert all(abs(kept[f"p{n}"] - 300) < 71 for n in range(3))


def test_the_threshold_cuts_the_cells_and_is_written(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.add([judgement(1, 0.49, correct=True), judgement(2, 0.5, correct=True)])
    assert (ledger.counts["disliked right"], ledger.counts["liked right"]) == (1, 1)
    ledger.write(tmp_path / "ledger.jsonl")
    with (tmp_path / "ledger.jsonl").open() as file:
        assert json.loads(file.readline())["threshold"] == 0.5


def test_most_disputed_problems_come_first(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.add([judgement(1, 0.9, correct=False), judgement(2, 0.1, correct=True)])
    ledger.add([judgement(2, 0.2, correct=True), judgement(3, 0.9, correct=True)])
    ledger.add([judgement(4, 0.1, correct=False)])
    ledger.write(tmp_path / "ledger.jsonl")
    assert disputed(tmp_path / "ledger.jsonl") == ["p2", "p1"]


def test_file_round_trip_and_broken_lines(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.add(judgement(n, n / 10, correct=n % 2 == 0) for n in range(10))
    path = tmp_path / "ledger.jsonl"
    ledger.write(path)
    assert list(read_ledger(path)) == [kept for cell in CELLS for kept in ledger.samples(cell)]
    with path.open("a") as file:
        file.write('{"problem_id": 1}\n')
    with pytest.raises(ValueError, match=r"ledger\.jsonl:12: not a line"):
        list(read_ledger(path))
    path.write_text('{"version": 2}\n')
    with pytest.raises(ValueError, match=r"jsonl:1: .*format 2"):
        list(read_ledger(path))


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="capacity is 0"):
        Ledger(capacity=0)
    with pytest.raises(ValueError, match="known: liked right"):
        Ledger().samples("loved")
