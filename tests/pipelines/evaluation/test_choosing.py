"""pass@k, maj@k and rm@k of rows against every subset written out, and against chance."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest

from pipelines.evaluation.answering import by_question
from pipelines.evaluation.choosing import choices
from reward_models.best_of import Candidate, best_score, majority, pass_at


def rows_of(question: int, samples: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """A greedy row and samples whose gold is 0; one in five states no answer."""
    rows = [{"problem_id": f"q{question}", "sample": 0, "outcome": "incorrect", "extracted": "9"}]
    for sample in range(1, samples + 1):
        answer = int(generator.integers(0, 5))
        outcome = {0: "correct", 4: "no_answer"}.get(answer, "incorrect")
        # The same wrong answer in two spellings.
        spelt = f"{answer}.0" if generator.random() < 0.5 else str(answer)
        extracted = None if answer == 4 else spelt
        rows.append(
            {"problem_id": f"q{question}", "sample": sample, "outcome": outcome}
            | {"extracted": extracted}
        )
    return [{**row, "finish": "stop", "tokens": 3} for row in rows]


def best(group: list[tuple[dict[str, Any], float]]) -> float:
    top = max(score for _, score in group)
    tied = [row["outcome"] == "correct" for row, score in group if score == top]
    return float(np.mean(tied))


def voted(group: list[dict[str, Any]]) -> float:
    votes = Counter(float(row["extracted"]) for row in group if row["extracted"] is not None)
    leaders = [a for a, count in votes.items() if count == max(votes.values())]
    return sum(a == 0 for a in leaders) / len(leaders) if leaders else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_every_metric_equals_all_subsets_written_out(seed: int) -> None:
    generator = np.random.default_rng(seed)
    questions, samples = 5, 6
    rows = [row for q in range(questions) for row in rows_of(q, samples, generator)]
    groups = by_question(rows)
    assert [len(group) for group in groups] == [samples] * questions
    scores = [
        [tuple(generator.integers(0, 4, generator.integers(1, 4)) / 3) for _ in group]
        for group in groups
    ]
    found = choices(groups, "gsm8k", (1, 2, 5, 6), scores)
    assert found["answers"] == questions * samples
    for kind in ("correct", "incorrect", "no_answer"):
        assert found[kind] == sum(row["outcome"] == kind for g in groups for row in g)
    assert found["tokens"] == 3 * questions * samples
    aggregate = {"min": min, "product": math.prod, "last": lambda v: v[-1], "mean": np.mean}
    for k in (1, 2, 5, 6):
        expected: dict[str, list[float]] = {}
        for group, values in zip(groups, scores, strict=True):
            subsets = list(itertools.combinations(range(samples), k))
            right = [[group[i]["outcome"] == "correct" for i in subset] for subset in subsets]
            expected.setdefault("pass", []).append(np.mean([any(each) for each in right]))
            expected.setdefault("maj", []).append(
                np.mean([voted([group[i] for i in subset]) for subset in subsets])
            )
            for name, function in aggregate.items():
                chosen = [best([(group[i], function(values[i])) for i in s]) for s in subsets]
                expected.setdefault(f"rm_{name}", []).append(np.mean(chosen))
        for name, by_question_ in expected.items():
            estimate = found["metrics"][name][str(k)]
            assert estimate["value"] == pytest.approx(np.mean(by_question_)), (name, k)
            assert estimate["low"] <= estimate["value"] <= estimate["high"]


def test_estimates_are_unbiased() -> None:
    """Over many draws of n samples, the mean is what k fresh samples would give."""
    generator = np.random.default_rng(0)
    chances = [0.35, 0.3, 0.2, 0.15]  # the right answer first; the last states nothing
    n, k, draws = 6, 3, 6_000
    passed = voted_ = chosen = 0.0
    for drawn in itertools.product(range(4), repeat=k):
        weight = math.prod(chances[a] for a in drawn)
        passed += weight * (0 in drawn)
        rows = [
            {"extracted": None if a == 3 else str(a), "outcome": "correct" if a == 0 else "no"}
            for a in drawn
        ]
        voted_ += weight * voted(rows)
        # The score of an answer is its number: 1 is liked best of the wrong ones, 2 beats 0.
        liked = {0: 2, 1: 1, 2: 3, 3: 0}
        chosen += weight * (max(drawn, key=liked.__getitem__) == 0)
    means = np.zeros(3)
    for _ in range(draws):
        answers = generator.choice(4, n, p=chances)
        group = [
            Candidate("p", {0: 2.0, 1: 1.0, 2: 3.0, 3: 0.0}[a], a == 0, None if a == 3 else int(a))
            for a in answers
        ]
        means += [pass_at(group, k), majority(group, k), best_score(group, k)]
    assert means / draws == pytest.approx([passed, voted_, chosen], abs=0.012)
