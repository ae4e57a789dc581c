"""Many solutions at once: the outcomes of one by one, wherever they are checked."""

import pytest

from verifiers import pool
from verifiers.frames import FrameError
from verifiers.steps import StepOutcome, check_many, check_spans, many

TEXTS = [f"{a}+{b}={a + b + (a % 3 == 0)}\nso x\n2*{a}={2 * a}" for a in range(20) for b in (1, 2)]
TEXTS += [*TEXTS[:7], "", "ü 1=2"]
ENDS = [() if not text else (*(i + 1 for i, c in enumerate(text) if c == "\n"), len(text))
        for text in TEXTS]  # fmt: skip


def one_by_one() -> list[list[StepOutcome]]:
    return [
        [verdict.outcome for verdict in check_spans(text, ends)]
        for text, ends in zip(TEXTS, ENDS, strict=True)
    ]


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_workers_and_this_process_find_the_same(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "IN_PROCESS_SECONDS", seconds)
    monkeypatch.setattr(many, "CHUNK_ROWS", 8)
    assert check_many(TEXTS, ENDS) == one_by_one()
    assert check_many([], []) == []


@pytest.mark.parametrize("error", [pool.PoolUnusable, pool.WorkerCrashed, FrameError])
def test_what_a_worker_cannot_do_is_done_here(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unusable(*_: object, **__: object) -> object:
        raise error("no processes here")

    monkeypatch.setattr(many, "IN_PROCESS_SECONDS", 0.0)
    monkeypatch.setattr(pool, "call", unusable)
    assert check_many(TEXTS, ENDS) == one_by_one()


def test_a_solution_that_comes_again_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    plain = many.check_spans
    monkeypatch.setattr(
        many, "check_spans", lambda text, ends: checked.append(text) or plain(text, ends)
    )
    assert check_many(["1+1=2"] * 5, [(5,)] * 5) == [[StepOutcome.RIGHT]] * 5
    assert checked == ["1+1=2"]
    check_many(["1+1=2"] * 2, [(5,), (2, 5)])
    assert len(checked) == 3


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_wrong_ends_are_refused(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "IN_PROCESS_SECONDS", seconds)
    with pytest.raises(ValueError, match="increase strictly"):
        check_many(["1+1=2"], [(9,)])
    with pytest.raises(ValueError, match="increase strictly"):
        check_many(["1+1=2"], [(5, 2)])
