"""What a reward model's scores are taken for where it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reward_models.history import write_labels
from reward_models.measuring import Samples, paired
from reward_models.types import LabeledSolution
from tests.reward_models.making import solution


class Liking:
    """A judge that likes everything."""

    def score(
        self, questions: Sequence[str], texts: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> list[tuple[float, ...]]:
        return [(0.9,) * len(row) for row in ends]


def test_what_the_limit_cut_off_scores_as_it_is_rewarded() -> None:
    cut = replace(solution(1, right=False, text="a\nbc"), ends=(2, 4), labels=(1.0, 0.0),
                  counts=((1, 1), (0, 1)), correct=True, finished=False)  # fmt: skip
    rows = (cut, replace(solution(1, right=True), problem_id=cut.problem_id))
    scored = Samples(rows, ("7", "7")).score(Liking())
    assert scored.fresh == [(0.9, 0.0), (0.9,)]
    found = scored.on_fresh(seed=0)
    # The one that is right and ended is ordered above the one that is right and never rewarded.
    assert found["outcome_auroc"] == 1.0
    assert found["bias"]["score_right"] == pytest.approx(0.9)
    assert found["bias"]["score_wrong"] == 0.0


class Saying:
    """A judge that says what is written at the end of a text, and less at the ends before."""

    def __init__(self, sign: int = 1) -> None:
        self.sign = sign

    def score(
        self, questions: Sequence[str], texts: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> list[tuple[float, ...]]:
        last = [float(text.split()[-1]) for text in texts]
        values = [said if self.sign > 0 else 1 - said for said in last]
        return [(*[0.0] * (len(cut) - 1), value) for cut, value in zip(ends, values, strict=True)]


def said(number: int, score: float, *, right: bool, iteration: int = 1) -> LabeledSolution:
    """A solution of two steps for which `Saying` gives (0, score)."""
    text = f"{number}\n{iteration} {score}"
    row = solution(number, right=right, iteration=iteration, text=text)
    label = float(right)
    return replace(
        row, ends=(len(text) - 1, len(text)), labels=(1.0, label), counts=((1, 1), (int(right), 1))
    )


def test_answers_and_solutions_belong_together() -> None:
    for answers in ((), ("1", "2")):
        with pytest.raises(ValueError, match=f"{len(answers)} answers for 1 solutions"):
            Samples((solution(1, right=True),), answers)


def test_best_of_n_doubles_up_to_the_samples_of_a_question() -> None:
    rows = (
        said(1, 0.9, right=True),
        said(1, 0.7, right=False),
        said(1, 0.6, right=False),
        said(1, 0.5, right=False),
        said(2, 0.1, right=True),
        said(2, 0.8, right=False),
    )
    samples = Samples(rows, ("7", "8", "8", None, "3", "4"))
    two, four = samples.score(Saying()).on_fresh(seed=0)["best_of"]
    assert (two["n"], two["problems"], four["n"], four["problems"]) == (2, 2, 4, 1)
    # Of the first question's six pairs, three hold its right sample, which has the best score.
    assert two["best_of_n"]["value"] == pytest.approx((0.5 + 0) / 2)
    assert four["best_of_n"]["value"] == 1
    # Two of four samples outvote the right one.
    assert four["majority"]["value"] == 0


def test_the_seed_draws_the_interval_of_best_of_n() -> None:
    generator = np.random.default_rng(0)
    rows = [said(n // 4, generator.random(), right=generator.random() < 0.5) for n in range(80)]
    scored = Samples(tuple(rows), tuple("1" if row.correct else "2" for row in rows)).score(
        Saying()
    )
    assert scored.on_fresh(seed=1) == scored.on_fresh(seed=1)
    assert scored.on_fresh(seed=1) != scored.on_fresh(seed=2)


def test_past_solutions_are_measured_together_and_by_iteration() -> None:
    first = [said(1, 0.9, right=True), said(2, 0.2, right=False), said(3, 0.3, right=False)]
    second = [
        said(4, 0.4, right=True, iteration=2),
        said(5, 0.8, right=False, iteration=2),
    ]
    third = [said(6, 0.5, right=True, iteration=3)]
    fresh = (solution(7, right=True, text="7 0.5"),)
    samples = Samples(fresh, ("7",), (*first, *second, *third))
    found = samples.score(Saying()).on_frozen()
    assert found is not None
    assert (found["rows"], found["outcome_auroc"]) == (6, pytest.approx(7 / 9))
    by_iteration = found["iterations"]
    assert [row["iteration"] for row in by_iteration] == [1, 2, 3]
    assert [row["rows"] for row in by_iteration] == [3, 2, 1]
    # All ends count: those of first steps are right here, and score 0.
    assert by_iteration[0]["auroc"] == pytest.approx(2 / 8)
    assert by_iteration[1]["auroc"] == 0
    assert by_iteration[2]["auroc"] is None
    assert set(found) == {
        "rows",
        "auroc",
        "average_precision",
        "brier",
        "ece",
        "accuracy",
        "outcome_auroc",
        "iterations",
    }
    assert Samples(fresh, ("7",)).score(Saying()).on_frozen() is None


def test_past_solutions_are_drawn_by_the_seed(tmp_path: Path) -> None:
    paths = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for iteration, path in enumerate(paths, start=1):
        rows = [solution(n, right=n % 2 == 0, iteration=iteration) for n in range(40)]
        write_labels(path, [replace(row, text=f"{row.text} {iteration}") for row in rows])
    fresh = [solution(100, right=True, iteration=3)]
    drawn = [Samples.draw(fresh, ["101"], paths, frozen_rows=8, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0].fresh == tuple(fresh)
    assert [row.iteration for row in drawn[0].frozen].count(1) == 4
    assert drawn[0] == drawn[1]
    assert drawn[0].frozen != drawn[2].frozen


def test_pairs_hold_the_old_models_scores_and_the_new_ones() -> None:
    samples = Samples((said(1, 0.9, right=True),), ("1",), (said(2, 0.2, right=False),))
    fresh, past = paired(samples.score(Saying()), samples.score(Saying(-1)))
    assert (fresh.old, fresh.new, fresh.frozen) == (
        [(0.0, 0.9)],
        [(0.0, pytest.approx(0.1))],
        False,
    )
    assert (past.old, past.new, past.frozen) == ([(0.0, 0.2)], [(0.0, 0.8)], True)
    assert (past.labels, past.problem_ids) == ([(1.0, 0.0)], ["p2"])
    alone = Samples(samples.fresh, samples.answers)
    assert [pair.name for pair in paired(alone.score(Saying()), alone.score(Saying()))] == [
        fresh.name
    ]
