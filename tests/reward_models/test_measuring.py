"""What a reward model's scores are taken for where it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from reward_models.measuring import Samples
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
