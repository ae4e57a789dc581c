"""The clock: parts add up, inner ones stop outer ones, and each context has its own."""

from __future__ import annotations

import time
from contextvars import copy_context

import pytest
import torch

from iterative_grpo import timing
from iterative_grpo.trl_seam.step_times import StepTimes
from iterative_grpo.types import Completion, Finish, Prompt, Sampling


class Hands:
    """A clock's hands that tests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def seconds(clock: timing.Clock) -> dict[str, float]:
    return {name: spent.seconds for name, spent in clock.parts.items()}


def test_an_inner_part_stops_the_outer_one(hands: Hands) -> None:
    with timing.clock() as clock:
        hands.now += 1
        with timing.part("label", tokens=5) as outer:
            hands.now += 2
            with timing.part("verify"):
                hands.now += 4
            hands.now += 8
            outer.tokens += 7
        hands.now += 16
        with timing.part("verify", tokens=3):
            hands.now += 32
    assert seconds(clock) == {"label": 10, "verify": 36}
    assert {name: spent.tokens for name, spent in clock.parts.items()} == {"label": 12, "verify": 3}


def test_a_part_inside_of_itself_counts_once(hands: Hands) -> None:
    with timing.clock() as clock, timing.part("score"):
        hands.now += 1
        with timing.part("score"):
            hands.now += 2
    assert seconds(clock) == {"score": 3}


def test_a_gpu_is_not_waited_for_within_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(1))
    with timing.clock(), timing.part("score"):
        for _ in range(3):
            with timing.part("score"):
                pass
        assert len(waits) == 1
        with timing.part("verify"):
            pass
        assert len(waits) == 3
    assert len(waits) == 4


def fail(hands: Hands) -> None:
    hands.now += 1
    raise KeyError


def test_an_error_closes_its_parts(hands: Hands) -> None:
    with timing.clock() as clock:
        with pytest.raises(KeyError), timing.part("a"), timing.part("b"):
            fail(hands)
        hands.now += 2
        with timing.part("c"):
            hands.now += 4
    assert seconds(clock) == {"a": 0, "b": 1, "c": 4}


def test_clocks_inside_of_clocks_keep_apart(hands: Hands) -> None:
    with timing.clock() as outer, timing.part("a"):
        hands.now += 1
        with timing.clock() as inner, timing.part("a"):
            hands.now += 2
        assert timing.current() is outer
    assert seconds(inner) == {"a": 2}
    assert seconds(outer) == {"a": 3}


def test_without_a_clock_one_begins_and_stays() -> None:
    def parts() -> set[str]:
        with timing.part("a"):
            pass
        return set(timing.current().parts)

    assert "a" in copy_context().run(parts)


def test_reading_shows_the_part_that_is_open(hands: Hands) -> None:
    with timing.clock() as clock, timing.part("a"):
        hands.now += 1
        found = clock.read()
        hands.now += 2
    assert found["a"].seconds == 1
    assert clock.parts["a"].seconds == 3


def test_generation_counts_the_tokens_of_completions() -> None:
    class Engine:
        @timing.generation
        def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[list[Completion]]:
            """Sample."""
            return [[Completion("p", 0, "", (1, 2, 3), Finish.STOP)] * 2 for _ in prompts]

    with timing.clock() as clock:
        Engine().generate([Prompt("p", (1,))] * 4, Sampling(2, 3))
    assert clock.parts["generate"].tokens == 4 * 2 * 3
    assert Engine.generate.__doc__ == "Sample."


def test_a_step_log_has_what_was_added_since_the_last(hands: Hands) -> None:
    with timing.clock():
        times = StepTimes()
        with timing.part("score", tokens=6):
            hands.now += 2
        times.on_pre_optimizer_step()
        hands.now += 3
        times.on_optimizer_step()
        assert times.since_last() == {"time/score": 2, "speed/score": 3, "time/optimizer": 3}
        with timing.part("score"):
            hands.now += 5
        assert times.since_last() == {"time/score": 5}
        assert times.since_last() == {}
