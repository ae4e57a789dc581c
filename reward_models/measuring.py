"""An old and a new reward model measured on the same solutions, which neither was trained on.

"Fresh" are this iteration's held-out solutions, all samples of a question together. "Frozen" are
those of past iterations, a fixed number drawn evenly by iteration and label, so that an iteration
costs the same however many went before it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from reward_models.best_of import Candidate, best_of
from reward_models.bias import bias
from reward_models.diagnostics import diagnose, flatten, ordered_pairs
from reward_models.gate import SampleSet
from reward_models.protocols import Scorer
from reward_models.replay import draw_past
from reward_models.types import LabeledSolution, as_rewarded

Scores = list[tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Samples:
    """What reward models are measured on; `answers[i]` is what `fresh[i]` states, None if nothing.

    `answers` serve the majority vote.
    """

    fresh: tuple[LabeledSolution, ...]
    answers: tuple[Hashable, ...]
    frozen: tuple[LabeledSolution, ...] = ()

    def __post_init__(self) -> None:
        if len(self.fresh) != len(self.answers):
            raise ValueError(f"{len(self.answers)} answers for {len(self.fresh)} solutions")

    @classmethod
    def draw(
        cls,
        fresh: Sequence[LabeledSolution],
        answers: Sequence[Hashable],
        past: Sequence[Path],
        *,
        frozen_rows: int,
        seed: int,
    ) -> Samples:
        """Take the fresh solutions, and `frozen_rows` of past iterations' held-out files."""
        return cls(tuple(fresh), tuple(answers), draw_past(past, frozen_rows, seed))

    def score(self, model: Scorer) -> Scored:
        """Score both parts."""
        return Scored(self, score(model, self.fresh), score(model, self.frozen))


@dataclass(frozen=True, slots=True)
class Scored:
    """Samples with one model's scores of them."""

    samples: Samples
    fresh: Scores
    frozen: Scores

    def on_fresh(self, seed: int) -> dict[str, Any]:
        """Return the figures on fresh solutions as a JSON object: `Diagnostics`, bias, best of N.

        `best_of` has one entry for each N of 2, 4, 8, ... up to the samples of a question.
        """
        rows = self.samples.fresh
        found = diagnose(self.fresh, [row.labels for row in rows], [r.problem_id for r in rows])
        return {
            **found.as_row(),
            "bias": bias(self.fresh, rows).as_row(),
            "best_of": self._best_of(seed),
        }

    def _best_of(self, seed: int) -> list[dict[str, Any]]:
        candidates = [
            Candidate(row.problem_id, scores[-1], row.correct, answer)
            for row, answer, scores in zip(
                self.samples.fresh, self.samples.answers, self.fresh, strict=True
            )
        ]
        groups: dict[str, int] = {}
        for row in self.samples.fresh:
            groups[row.problem_id] = groups.get(row.problem_id, 0) + 1
        sizes = takewhile(lambda n: n <= max(groups.values()), (2**k for k in range(1, 20)))
        return [asdict(best_of(candidates, n, seed=seed)) for n in sizes]

    def on_frozen(self) -> dict[str, Any] | None:
        """Return the figures on past solutions; None without any.

        `iterations` has the AUROC of each past iteration: with many of them, few rows are behind
        one. The classes are drawn alike, so that calibration is that of equal classes.
        """
        rows = self.samples.frozen
        if not rows:
            return None
        found = diagnose(self.frozen, [row.labels for row in rows], [r.problem_id for r in rows])
        whole = found.as_row()
        names = ("rows", "auroc", "average_precision", "brier", "ece", "accuracy", "outcome_auroc")
        return {
            **{name: whole[name] for name in names},
            "iterations": [self._of_iteration(k) for k in sorted({row.iteration for row in rows})],
        }

    def _of_iteration(self, iteration: int) -> dict[str, Any]:
        chosen = [i for i, row in enumerate(self.samples.frozen) if row.iteration == iteration]
        scores = flatten([self.frozen[i] for i in chosen])
        labels = flatten([self.samples.frozen[i].labels for i in chosen])
        # Counting pairs is the AUROC, without a library's 15 ms a call for each past iteration.
        right, pairs = ordered_pairs(scores, labels, [""] * len(scores))
        return {
            "iteration": iteration,
            "rows": len(chosen),
            "auroc": right / pairs if pairs else None,
        }


def score(model: Scorer, rows: Sequence[LabeledSolution]) -> Scores:
    """Return one probability an end for each solution, as it would reward the policy."""
    said = model.score(
        [row.question for row in rows], [row.text for row in rows], [row.ends for row in rows]
    )
    return [
        as_rewarded(values, finished=row.finished) for row, values in zip(rows, said, strict=True)
    ]


def paired(old: Scored, new: Scored) -> list[SampleSet]:
    """Return both models' scores of the same samples, as the promotion gate takes them."""
    samples = old.samples
    sets = [_pair("fresh samples", samples.fresh, old.fresh, new.fresh, frozen=False)]
    if samples.frozen:
        sets.append(_pair("past samples", samples.frozen, old.frozen, new.frozen, frozen=True))
    return sets


def _pair(
    name: str, rows: Sequence[LabeledSolution], old: Scores, new: Scores, *, frozen: bool
) -> SampleSet:
    labels, names = [row.labels for row in rows], [row.problem_id for row in rows]
    return SampleSet(name, labels, names, old, new, frozen)
