"""The majority that a reward model is held against: equal answers are one, however spelt."""

from __future__ import annotations

from pathlib import Path

import pytest

from iterative_grpo.types import Problem
from pipelines.phases import retrain
from reward_models.measuring import Scored
from reward_models.types import LabeledSolution
from tests.pipelines.phases.retraining import Phases, solution

SAID = ("{0}", "{0}.0", "{0}.00", "9{0}", "9{0}")
"""Right thrice, each time in another way, and wrong twice."""


def spelt(problem: Problem) -> list[LabeledSolution]:
    return [
        solution(problem, f"so\n#### {text.format(problem.answer)}", place < 3, 1)
        for place, text in enumerate(SAID)
    ]


def test_the_majority_counts_equal_answers_together(tmp_path: Path) -> None:
    phases = Phases(tmp_path)
    phases.label(rows=[row for problem in phases.problems for row in spelt(problem)])
    samples = retrain.samples_of(phases.job(tmp_path))
    found = Scored(samples, [(0.5, 0.5)] * len(samples.fresh), []).on_fresh(seed=0)
    # Of the pairs of samples three are two right ones, one is two wrong ones, in six the vote ties.
    assert found["best_of"][0]["majority"]["value"] == pytest.approx(3 / 10 + 6 / 10 / 2)
    # Of fours: three right and a wrong one (2 of 5), or two of each (3 of 5, tied).
    assert found["best_of"][1]["majority"]["value"] == pytest.approx(2 / 5 + 3 / 5 / 2)
