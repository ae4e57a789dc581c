"""Health figures, each counted by hand."""

from __future__ import annotations

import math
import statistics

import pytest

from iterative_grpo.health import health, repetition
from iterative_grpo.normalize import Normalizer
from iterative_grpo.rollouts import Rollout
from iterative_grpo.types import Finish, StepRewards


def rollout(
    text: str,
    advantages: tuple[float, ...],
    *,
    score: float | None = None,
    right: bool | None = None,
    finish: Finish = Finish.STOP,
    values: tuple[float, ...] | None = None,
) -> Rollout:
    """A rollout whose steps end at its last characters."""
    steps = len(advantages)
    ends = tuple(len(text) - steps + 1 + k for k in range(steps))
    parts = {} if score is None else {"model": (0.25,) * (steps - 1) + (score,)}
    rewards = StepRewards(ends, values or (0.0,) * steps, parts)
    return Rollout("p", 0, text, len(text) + 1, finish, rewards, advantages, right)


GENERATION = [
    # A right and a wrong output in each group of two.
    rollout("a b c d", (1.0, 3.0), score=0.9, right=True, values=(0.0, 1.0)),
    rollout("x x x x x", (-1.0,), score=0.6, right=False, finish=Finish.LENGTH),
    rollout("a b", (2.0,), score=0.3, right=True),
    rollout(" " * 9, (0.0,) * 9 + (5.0,), score=0.3, right=False),
]


def figures(rollouts: list[Rollout], group_size: int = 2) -> dict[str, float]:
    return health(rollouts, group_size)


def test_shape_of_outputs() -> None:
    found = figures(GENERATION)
    assert found["truncated"] == 0.25
    assert found["empty"] == 0.25
    assert found["one_step"] == 0.5
    assert found["steps_per_output"] == (2 + 1 + 1 + 10) / 4


def test_groups_are_skipped_by_their_advantages_whichever_rewards_a_rule_reads() -> None:
    # As under `outcome`, which reads the last rewards alone.
    alike = [rollout(text, (0.0, 0.0), values=(0.5, 1.0)) for text in ("a b", "a c")]
    assert figures([*alike, *GENERATION[:2]])["frac_skipped_groups"] == 0.5
    # One advantage that is not zero is enough.
    assert figures([*alike, rollout("a", (0.0, 1.0)), alike[0]])["frac_skipped_groups"] == 0.5


def test_the_spread_of_rewards_is_that_of_a_groups_steps() -> None:
    others = [rollout(text, (1.0,), values=(9.0,)) for text in ("a", "b")]
    found = figures([*GENERATION[:2], *others])["reward_std"]
    assert found == pytest.approx((statistics.stdev([0, 1, 0]) + 0) / 2)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("one two three", 0.0),
        ("x x x x x", 2 / 3),  # three trigrams, one of them distinct
        ("a b c a b c", 1 / 4),  # abc bca cab abc
        ("2*4=8\n2*4=8\n2*4=8\n2*4=8\n", 1 / 2),
    ],
)
def test_repetition(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


def test_advantages_by_position_and_by_number_of_steps() -> None:
    found = figures(GENERATION)
    assert found["advantage_rms/1"] == pytest.approx(math.sqrt((1 + 1 + 4 + 0) / 4))
    assert found["advantage_rms/2"] == pytest.approx(math.sqrt((9 + 0) / 2))
    # Positions from the eighth on stand together: two zeros and a five.
    assert found["advantage_rms/8"] == pytest.approx(math.sqrt(25 / 3))
    assert "advantage_rms/9" not in found
    assert found["advantage_rms"] == pytest.approx(math.sqrt((1 + 9 + 1 + 4 + 25) / 14))
    assert found["first_advantage/1"] == pytest.approx((-1 + 2) / 2)
    assert found["first_advantage/2"] == 1.0
    assert found["first_advantage/8"] == 0.0
    assert "first_advantage/3" not in found


def test_what_a_step_more_is_worth_is_taken_at_one_verdict() -> None:
    # Right outputs: steps 1, 2, 3 with advantages 1, 2, 3; wrong ones: 4, 6 with -5, -3.
    outputs = [
        *(rollout("abc", (float(n),) * n, right=True) for n in (1, 2, 3)),
        *(rollout("abcdef", (n - 9.0,) * n, right=False) for n in (4, 6)),
    ]
    # Both kinds gain 1 a step; over all of them the line would fall.
    assert figures(outputs, 5)["first_advantage_per_step"] == pytest.approx(1.0)
    assert "first_advantage_per_step" not in figures([rollout("a", (1.0,)), rollout("b", (2.0,))])
    # Without verdicts all outputs are of one kind, and later tokens do not matter.
    unjudged = [rollout("abc", (float(n), *(9.0,) * (n - 1))) for n in (1, 2, 3)]
    assert figures(unjudged, 3)["first_advantage_per_step"] == pytest.approx(1.0)


def test_length_steps_and_repetition_by_verdict() -> None:
    found = figures(GENERATION)
    assert found["verifier_accuracy"] == 0.5
    assert (found["steps_correct"], found["steps_incorrect"]) == (1.5, 5.5)
    assert (found["tokens_correct"], found["tokens_incorrect"]) == (6.0, 10.0)
    assert found["repetition_correct"] == 0.0
    assert found["repetition_incorrect"] == pytest.approx(1 / 3)
    assert found["repetition"] == pytest.approx(1 / 6)
    right = figures([r for r in GENERATION if r.correct])
    assert "steps_incorrect" not in right
    assert "pair_accuracy" not in right


def test_belief_is_the_last_ends_score_against_the_verdict() -> None:
    found = figures(GENERATION)
    assert found["score"] == pytest.approx((0.9 + 0.6 + 0.3 + 0.3) / 4)
    assert found["gap"] == pytest.approx(0.525 - 0.5)
    # One pair is ordered rightly, one is a tie; pairs across groups do not count.
    assert found["pair_accuracy"] == 0.75
    assert found["liked_wrong"] == 0.25
    assert found["disliked_right"] == 0.25
    # Cut off, an output is not right, whatever stands in it: it gets the lowest score.
    cut = rollout("a b c d", (1.0,), score=0.0, right=True, finish=Finish.LENGTH)
    wrong = rollout("a b c d", (1.0,), score=0.0, right=False)
    unended = figures([cut, wrong])
    assert unended["verifier_accuracy"] == 0.5
    assert (unended["gap"], unended["disliked_right"]) == (0.0, 0.0)
    assert "pair_accuracy" not in unended
    # The part of the reward is the mean over steps, which under process supervision is another.
    assert found["reward/model"] == pytest.approx(
        ((0.25 + 0.9) / 2 + 0.6 + 0.3 + (9 * 0.25 + 0.3) / 10) / 4
    )
    assert not {"score", "gap", "liked_wrong"} & figures([rollout("a", (1.0,), right=True)]).keys()
    assert "verifier_accuracy" not in figures([rollout("a", (1.0,), score=0.5)])


def test_a_score_of_one_half_says_right() -> None:
    half = [rollout("a", (1.0,), score=0.5, right=right) for right in (True, False, False)]
    found = figures(half, 3)
    assert (found["liked_wrong"], found["disliked_right"]) == (pytest.approx(2 / 3), 0.0)


def test_a_part_that_not_all_outputs_have_says_its_share() -> None:
    outputs = [rollout("a", (1.0,), score=0.5)] + [rollout("b", (1.0,))] * 3
    found = figures(outputs, 4)
    assert (found["reward/model"], found["share/model"]) == (0.5, 0.25)
    assert figures(outputs[::-1], 4) == found
    assert "share/model" not in figures(GENERATION)


def test_a_rule_that_pays_for_steps_shows() -> None:
    """All steps are rated alike, but for their number: `sum` pays outputs above the mean."""
    from iterative_grpo.advantages.sum import Rule

    counts = [1, 2, 3, 4, 6, 8]
    values = [[0.6] * n for n in counts] + [[0.4], [0.4]]
    (advantages,) = Rule().credit([values], Normalizer())
    rollouts = [
        rollout("abcdefgh", tuple(row), right=False, values=tuple(of))
        for row, of in zip(advantages, values, strict=True)
    ]
    found = figures(rollouts, len(rollouts))
    assert found["first_advantage_per_step"] > 0.3
    assert found["first_advantage/8"] > found["first_advantage/4"] > found["first_advantage/2"] > 0
