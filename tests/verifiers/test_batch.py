"""verify_many gives the verdicts of verify, in order, whatever way the rows take."""

import random

import pytest

from verifiers import GoldError, Outcome, Policy, Verdict, batch, verify, verify_many
from verifiers.batch import UnfitOption
from verifiers.conventions import UnknownConvention


def _rows(count: int) -> list[tuple[str, str]]:
    chance = random.Random(7)
    rows = []
    for index in range(count):
        gold = chance.randrange(1000)
        shown = gold if index % 3 else gold + 1
        text = f"Step {index}.\nSo it is $\\boxed{{{shown}}}$." if index % 5 else ""
        rows.append((text, str(gold)))
    return rows


@pytest.mark.parametrize("seconds", [0.0, 0.002, 60.0])
def test_same_verdicts_in_the_same_order_by_every_way(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "IN_PROCESS_SECONDS", seconds)
    monkeypatch.setattr(batch, "CHUNK_ROWS", 17)
    rows = _rows(200)
    expected = [verify(*row) for row in rows]
    assert verify_many(rows) == expected
    assert verify_many(iter(rows), workers=1) == expected
    assert {v.outcome for v in expected} == {
        Outcome.CORRECT,
        Outcome.INCORRECT,
        Outcome.NO_ANSWER,
    }


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_policy_and_convention_reach_the_workers(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "IN_PROCESS_SECONDS", seconds)
    rows = [("It costs 5 dollars.\n#### 5", "5"), ("x\n#### 1,000", "1000"), ("A: 7", "8")]
    assert [v.correct for v in verify_many(rows, convention="gsm8k")] == [True, True, False]
    pair = [("\\boxed{5}", "5 \\text{ cm}")]
    assert verify_many(pair, policy=Policy(units="optional"))[0].correct
    assert not verify_many(pair, policy=Policy(units="required"))[0].correct


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_bad_gold_names_its_row(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "IN_PROCESS_SECONDS", seconds)
    rows = [("\\boxed{1}", "1"), ("\\boxed{2}", "2"), ("\\boxed{3}", "  "), ("\\boxed{4}", "")]
    with pytest.raises(GoldError, match="row 2"):
        verify_many(rows)


def test_rows_that_are_no_pairs_of_texts_are_refused() -> None:
    with pytest.raises(TypeError, match="row 1"):
        verify_many([("\\boxed{1}", "1"), ("\\boxed{2}", 2)])  # type: ignore[list-item]
    with pytest.raises(UnfitOption, match="workers"):
        verify_many([], workers=0)
    with pytest.raises(UnfitOption, match="timeout is 0"):
        verify_many([], timeout=0)
    with pytest.raises(UnknownConvention, match="convention"):
        verify_many([("1", "1")], convention="no such benchmark")


def test_empty_input_gives_an_empty_list() -> None:
    assert verify_many([]) == []


def test_a_row_that_stops_its_worker_costs_itself_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "IN_PROCESS_SECONDS", 0.0)
    # The deadline of a chunk stands in for a crash: no row is known that stops the cheap stages.
    monkeypatch.setattr(batch, "_CHUNK_SECONDS", 1e-6)
    # Long enough that no worker can answer before its caller looks at the clock.
    rows = [("words " * 160_000 + f"\\boxed{{{n}}}", str(n)) for n in (1, 2)]
    verdicts = verify_many(rows)
    assert all(isinstance(v, Verdict) and v.outcome is Outcome.TIMEOUT for v in verdicts)


def test_a_row_too_long_to_send_is_judged_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "IN_PROCESS_SECONDS", 0.0)
    rows = [("words " * 3_500_000 + "\\boxed{7}", "7"), ("\\boxed{2}", "2")]
    assert [v.correct for v in verify_many(rows)] == [True, True]
