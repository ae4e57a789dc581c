"""Best-of-N, majority and pass@N against all subsets written out."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from reward_models.best_of import Candidate, best_of, best_score, majority, pass_at, winning


def group(seed: int, size: int = 7) -> list[Candidate]:
    generator = np.random.default_rng(seed)
    answers = generator.integers(0, 3, size)
    return [
        Candidate("p", float(generator.integers(0, 4)) / 4, bool(answer == 0), int(answer))
        for answer in answers
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_equals_all_subsets(seed: int, n: int) -> None:
    samples = group(seed)
    best, passed, voted = [], [], []
    for subset in itertools.combinations(samples, n):
        top = max(c.score for c in subset)
        tied = [c.correct for c in subset if c.score == top]
        best.append(sum(tied) / len(tied))
        passed.append(any(c.correct for c in subset))
        counts = Counter(c.answer for c in subset)
        leaders = [a for a, votes in counts.items() if votes == max(counts.values())]
        voted.append(sum(a == 0 for a in leaders) / len(leaders))
    assert best_score(samples, n) == pytest.approx(np.mean(best))
    assert pass_at(samples, n) == pytest.approx(np.mean(passed))
    assert majority(samples, n) == pytest.approx(np.mean(voted))


def test_the_majority_of_two_answers_is_hypergeometric() -> None:
    samples = [Candidate("p", 0.5, i % 5 < 3, i % 5 < 3) for i in range(60)]
    # Three or more of five drawn without return from 36 of 60.
    assert majority(samples, 5) == pytest.approx(stats.hypergeom(60, 36, 5).sf(2))
    assert majority(samples, 33) == pytest.approx(stats.hypergeom(60, 36, 33).sf(16))


@pytest.mark.parametrize("seed", range(12))
def test_majority_equals_all_subsets_with_silent_samples_and_mixed_answers(seed: int) -> None:
    generator = np.random.default_rng(seed)
    # An answer that is right in some samples only counts as right as they are.
    samples = [
        Candidate("p", 0.5, bool(answer == 0 and generator.random() < 0.7), answer)
        for answer in [None if a == 4 else int(a) for a in generator.integers(0, 5, 9)]
    ]
    share = {
        answer: np.mean([c.correct for c in samples if c.answer == answer])
        for answer in {c.answer for c in samples}
    }
    for n in range(1, 10):
        won = []
        for subset in itertools.combinations(samples, n):
            counts = Counter(c.answer for c in subset if c.answer is not None)
            leaders = [a for a, votes in counts.items() if votes == max(counts.values())]
            won.append(sum(share[a] for a in leaders) / len(leaders) if leaders else 0.0)
        assert majority(samples, n) == pytest.approx(np.mean(won))


def test_the_chances_of_all_answers_add_up() -> None:
    counts = (30, 17, 9, 5, 2, 1)
    for n in (1, 7, 32, 64):
        chances = [
            winning(own, tuple(c for j, c in enumerate(counts) if j != i), 0, n)
            for i, own in enumerate(counts)
        ]
        assert sum(chances) == pytest.approx(1.0, rel=1e-12)
    with pytest.raises(ValueError, match="at most 1000"):
        winning(600, (600,), 0, 2)


def test_no_answer_does_not_vote() -> None:
    samples = [Candidate("p", 0.9, False, None)] * 3 + [Candidate("p", 0.1, True, "4")]
    assert majority(samples, 4) == 1.0
    assert majority(samples[:3], 3) == 0.0


def test_estimates_over_problems_with_paired_intervals() -> None:
    generator = np.random.default_rng(3)
    candidates = []
    for problem in range(60):
        for _ in range(4):
            right = bool(generator.random() < 0.4)
            score = float(np.clip(0.5 + 0.3 * right + generator.normal(0, 0.15), 0, 1))
            answer = "right" if right else f"wrong {generator.integers(0, 2)}"
            candidates.append(Candidate(f"p{problem}", score, right, answer))
    found = best_of(candidates, 4)
    assert found.problems == 60
    assert found.pass_at_n.value >= found.best_of_n.value > found.majority.value
    assert found.gain.value == pytest.approx(found.best_of_n.value - found.majority.value)
    for estimate in (found.best_of_n, found.majority, found.pass_at_n, found.gain):
        assert estimate.low < estimate.value < estimate.high
    # At N = 1 nothing is chosen: all are the mean accuracy.
    one = best_of(candidates, 1)
    accuracy = np.mean([c.correct for c in candidates])
    assert one.best_of_n.value == pytest.approx(accuracy)
    assert one.majority.value == pytest.approx(accuracy)
    assert one.pass_at_n.value == pytest.approx(accuracy)


def test_the_interval_is_that_of_resampled_problems() -> None:
    generator = np.random.default_rng(0)
    right = generator.random(200) < 0.4
    candidates = [Candidate(f"p{i}", 0.5, bool(each), i) for i, each in enumerate(right)]
    found = best_of(candidates, 1, resamples=5_000).best_of_n
    # Each of 200 draws is right with the share of right problems; 95 % lie between.
    drawn = stats.binom(200, right.mean())
    assert found.low == pytest.approx(drawn.ppf(0.025) / 200, abs=0.0051)
    assert found.high == pytest.approx(drawn.ppf(0.975) / 200, abs=0.0051)


def test_the_seed_draws_the_interval() -> None:
    candidates = [Candidate(f"p{i}", 0.5, i % 3 == 0, i) for i in range(200)]
    assert best_of(candidates, 1, seed=1) == best_of(candidates, 1, resamples=1000, seed=1)
    assert best_of(candidates, 1, resamples=50, seed=1) != best_of(
        candidates, 1, resamples=50, seed=2
    )


def test_problems_without_enough_samples_are_left_out() -> None:
    candidates = [Candidate("a", 0.5, True, 1)] * 2 + [Candidate("b", 0.5, False, 2)] * 3
    found = best_of(candidates, 3)
    assert (found.problems, found.pass_at_n.value) == (1, 0)
    assert best_of(candidates, 2).problems == 2


def test_too_few_samples_are_told() -> None:
    with pytest.raises(ValueError, match="no problem has 5 samples, the most is 4"):
        best_of([Candidate("p", 0.5, True, 1)] * 4, 5)
    with pytest.raises(ValueError, match="the most is 0"):
        best_of([], 1)
    with pytest.raises(ValueError, match="n is 0"):
        best_of([], 0)
