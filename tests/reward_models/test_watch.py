"""The watch on curves of policies that improve, that game their judge, and that only wobble."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from reward_models.watch import Drift, Observation, Watch


def steps(
    scores: np.ndarray, accuracy: np.ndarray, rules: Drift, **figures: float
) -> tuple[int, str] | None:
    """Return the step at which the watch spoke, and what it said."""
    watch = Watch(rules)
    noise = np.random.default_rng(0).normal(0, 0.02, (2, len(scores)))
    for step, (score, truth) in enumerate(zip(scores + noise[0], accuracy + noise[1], strict=True)):
        reason = watch.see(Observation(float(score - truth), **figures))
        if reason:
            return step, reason
    return None


RISING = np.linspace(0.5, 0.9, 100)
FALLING = np.linspace(0.5, 0.3, 100)


def test_a_policy_that_improves_is_left_alone() -> None:
    assert steps(RISING, RISING, Drift()) is None
    # A judge that is biased, but no more than it was.
    assert steps(RISING + 0.3, RISING, Drift()) is None


def test_a_policy_that_games_its_judge_is_stopped_early() -> None:
    found = steps(RISING, FALLING, Drift())
    assert found is not None
    step, reason = found
    # The gap grows by 0.006 a step: 0.15 after 25, and the windows' middles 4 steps later.
    assert 20 < step < 40
    assert "gap between score and accuracy has grown" in reason


def test_one_odd_step_stops_nothing() -> None:
    scores = np.full(60, 0.6)
    scores[30] = 1.4
    assert steps(scores, np.full(60, 0.6), Drift()) is None


def test_pair_accuracy_and_distance_have_rules_of_their_own() -> None:
    flat = np.full(20, 0.6)
    found = steps(flat, flat, Drift(), pair_accuracy=0.55)
    assert found == (4, "pair accuracy within groups is 0.550 (limit 0.65)")
    assert steps(flat, flat, Drift(), pair_accuracy=0.8) is None
    assert steps(flat, flat, Drift(pair_accuracy=None), pair_accuracy=0.55) is None
    assert steps(flat, flat, Drift(), kl_initial=9.0) is None
    found = steps(flat, flat, Drift(kl=0.5), kl_initial=0.6)
    assert found == (4, "the policy is 0.600 from the initial one (limit 0.5)")


def last_words(observations: Iterable[Observation], rules: Drift | None = None) -> str | None:
    """Return what the watch says at the last of the steps."""
    watch = Watch(rules or Drift())
    return [watch.see(observation) for observation in observations][-1]


def test_the_first_window_is_what_growth_is_measured_from() -> None:
    gaps = [Observation(gap) for gap in (0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5)]
    said = last_words(gaps)
    assert said is not None
    assert "has grown by 0.300" in said
    assert "from +0.000 to +0.300" in said


def test_growth_is_held_against_the_errors_of_both_windows() -> None:
    # Of standard deviation 1: the standard error of the mean is 0.447, of a difference 0.632.
    noisy = [-1.0, 1.0, -1.0, 1.0, 0.0]
    for grown, heard in ((1.2, False), (1.4, True)):
        steps = [Observation(gap) for gap in (*noisy, *(gap + grown for gap in noisy))]
        assert (last_words(steps) is not None) is heard
    # A start that was not known well cannot have been left for certain.
    assert last_words([Observation(gap) for gap in (*noisy, *[0.5] * 5)]) is None


def test_pair_accuracy_must_be_below_its_limit_for_certain() -> None:
    def seen(*accuracies: float | None) -> list[Observation]:
        return [Observation(0.0, pair_accuracy=accuracy) for accuracy in accuracies]

    assert last_words(seen(0.6, 0.61, 0.59, 0.6, 0.6)) is not None
    # The mean is as low, and the standard error 0.1.
    assert last_words(seen(0.4, 0.8, 0.4, 0.8, 0.6)) is None
    # One step that defines it is no reason.
    assert last_words(seen(None, None, 0.1, None, None)) is None
    assert last_words(seen(None, None, 0.1, None, 0.1)) is not None


def test_distance_is_the_mean_of_the_window_and_may_reach_the_limit() -> None:
    def seen(*distances: float) -> list[Observation]:
        return [Observation(0.0, kl_initial=distance) for distance in distances]

    rules = Drift(kl=0.5)
    assert last_words(seen(0.5, 0.5, 0.5, 0.5, 0.5), rules) is None
    assert last_words(seen(0.25, 0.25, 0.25, 0.25, 1.0), rules) is None
    assert last_words(seen(0.75, 0.75, 0.75, 0.75, 0.25), rules) is not None


def test_rules_can_be_switched_off() -> None:
    assert steps(RISING, FALLING, Drift(gap=None)) is None
    with pytest.raises(ValueError, match="window is 1"):
        Drift(window=1)
