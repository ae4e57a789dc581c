"""verify_many gives the verdicts of verify, in order, whatever way the rows take."""

import random

import pytest

from verifiers import GoldError, Outcome, Policy, Verdict, batch, pool, verify, verify_many
from verifiers.batch import UnfitOption
from verifiers.conventions import UnknownConvention
from verifiers.memory import ENFORCED_BY_SYSTEM


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
    line = [("Some work with \\boxed{5}.\nA: 12", "12")]
    assert verify_many(line, convention="gsm8k")[0].correct
    assert not verify_many(line)[0].correct
    pair = [("\\boxed{5}", "5 \\text{ cm}")]
    assert verify_many(pair, policy=Policy(units="optional"))[0].correct
    assert not verify_many(pair, policy=Policy(units="required"))[0].correct


def test_policy_and_convention_and_time_reach_the_symbolic_stage() -> None:
    line = [("\\boxed{5}\nA: \\int_0^{10} x\\,dx", "50\\%")]
    (verdict,) = verify_many(line, convention="gsm8k", timeout=20)
    assert (verdict.outcome, verdict.reason) == (Outcome.CORRECT, "symbolic")
    strict = Policy(percent="value")
    assert not verify_many(line, convention="gsm8k", policy=strict, timeout=20)[0].correct
    (late,) = verify_many(line, convention="gsm8k", timeout=1e-6)
    assert late.outcome is Outcome.TIMEOUT


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
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UnfitOption, match=f"timeout is {timeout}"):
            verify_many([], timeout=timeout)
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


@pytest.mark.skipif(not ENFORCED_BY_SYSTEM, reason="only Linux enforces RLIMIT_AS")
def test_rows_beside_one_that_crashes_its_worker_get_their_verdicts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "IN_PROCESS_SECONDS", 0.0)
    # One wide character makes Python keep the whole text in four bytes a character.
    long = "\U0001d7d8" + "words " * 2_400_000 + "\\boxed{2}"
    rows = [("\\boxed{1}", "1"), (long, "2"), ("\\boxed{3}", "4")]
    with pool.WorkerPool(2, memory_bytes=65 * 2**20, warm=()) as small:
        monkeypatch.setitem(pool._shared, "pool", small)
        outcomes = [verdict.outcome for verdict in verify_many(rows)]
    assert outcomes == [Outcome.CORRECT, Outcome.TIMEOUT, Outcome.INCORRECT]


def test_a_row_too_long_to_send_is_judged_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "IN_PROCESS_SECONDS", 0.0)
    rows = [("words " * 3_500_000 + "\\boxed{7}", "7"), ("\\boxed{2}", "2")]
    assert [v.correct for v in verify_many(rows)] == [True, True]
