"""The promotion gate: a retrained reward model replaces the old one only if it is no worse.

Both models score the same samples, so that differences are paired; their intervals come from
resampling whole problems. A figure blocks promotion if it is worse by more than its margin and the
interval says that this is no chance. A model that gives one score to everything is never promoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reward_models.diagnostics import check_rows, flatten
from reward_models.resampling import FIGURES, draws

Rows = Sequence[Sequence[float]]

CONSTANT = "the new model gives one score to everything"


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse a figure may be: fresh and frozen samples have margins of their own.

    `brier` and `ece` are errors (more is worse), the others successes. `floor` is the pair accuracy
    on fresh samples that a new model needs in any case; 0 asks for none. Without `probabilities`
    scores are compared by their order alone.
    """

    auroc: float = 0.02
    pair_accuracy: float = 0.03
    brier: float = 0.02
    ece: float = 0.05
    frozen_auroc: float = 0.05
    floor: float = 0.0
    probabilities: bool = True


@dataclass(frozen=True, slots=True)
class SampleSet:
    """Samples scored by both models. `frozen` ones are past iterations' held-out samples."""

    name: str
    labels: Rows
    problem_ids: Sequence[str]
    old: Rows
    new: Rows
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of one sample set. `difference` is new - old; `low` to `high` its 95 % interval.

    All three and the figures are None where the samples do not define them.
    """

    samples: str
    figure: str
    old: float | None
    new: float | None
    difference: float | None
    low: float | None
    high: float | None
    margin: float
    worse: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the new model replaces the old one, why not, and the figures behind it."""

    promoted: bool
    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...]

    def as_row(self) -> dict[str, Any]:
        """Return the decision as a JSON object."""
        return asdict(self)


def decide(
    sets: Sequence[SampleSet],
    margins: Margins,
    *,
    failed_probes: Sequence[str] = (),
    resamples: int = 200,
    seed: int = 0,
) -> Decision:
    """Compare old and new model on all sample sets and decide.

    `failed_probes` names probes that the new model failed and that are to block it. Raises
    ValueError if there is no fresh set: an old set alone says nothing of the policy to be judged.
    """
    if not any(not samples.frozen for samples in sets):
        raise ValueError("the gate needs fresh samples of the current policy, found none")
    comparisons: list[Comparison] = []
    reasons = [f"failed probe: {name}" for name in failed_probes]
    for samples in sets:
        check_rows(samples.old, samples.labels, samples.problem_ids)
        check_rows(samples.new, samples.labels, samples.problem_ids)
        if constant(samples.new):
            reasons.append(f"{samples.name}: {CONSTANT}")
        compared = [
            _compare(samples, figure, margin, resamples, seed)
            for figure, margin in _wanted(samples, margins).items()
        ]
        reasons += [_reason(found) for found in compared if found.worse]
        for found in compared:
            if (
                not samples.frozen
                and found.figure == "pair_accuracy"
                and found.new is not None
                and found.new < margins.floor
            ):
                reasons.append(
                    f"{samples.name}: pair accuracy {found.new:.3f} is below the floor "
                    f"{margins.floor:.3f}"
                )
        comparisons += compared
    return Decision(not reasons, tuple(reasons), tuple(comparisons))


def admit(scores: Rows, *, failed_probes: Sequence[str] = ()) -> Decision:
    """Decide on a first model, which no old one is compared with: probes and constant scores."""
    reasons = [f"failed probe: {name}" for name in failed_probes]
    if constant(scores):
        reasons.append(CONSTANT)
    return Decision(not reasons, tuple(reasons), ())


def constant(scores: Rows) -> bool:
    """Whether several ends all got one score: such a model teaches a policy nothing."""
    flat = flatten(scores)
    return len(flat) > 1 and bool(np.ptp(flat) < 1e-6)


def _wanted(samples: SampleSet, margins: Margins) -> Mapping[str, float]:
    if samples.frozen:
        return {"auroc": margins.frozen_auroc}
    order = {"auroc": margins.auroc, "pair_accuracy": margins.pair_accuracy}
    if not margins.probabilities:
        return order
    return {**order, "brier": margins.brier, "ece": margins.ece}


def _compare(
    samples: SampleSet, figure: str, margin: float, resamples: int, seed: int
) -> Comparison:
    """Return the paired difference with its interval over resampled problems."""
    prepare, better = FIGURES[figure]
    old = prepare(samples.old, samples.labels, samples.problem_ids)
    new = prepare(samples.new, samples.labels, samples.problem_ids)
    each_once = np.ones(len(set(samples.problem_ids)))
    before, after = old(each_once), new(each_once)
    if before is None or after is None:
        return Comparison(samples.name, figure, before, after, None, None, None, margin, False)
    differences = []
    for weights_P in draws(samples.problem_ids, resamples, seed):
        one, other = old(weights_P), new(weights_P)
        # A resample of one class defines no figure.
        if one is not None and other is not None:
            differences.append(other - one)
    low, high = np.quantile(differences, [0.025, 0.975]) if differences else (0.0, 0.0)
    difference = after - before
    beyond = better * difference < -margin
    real = high < 0 if better > 0 else low > 0
    return Comparison(
        samples.name,
        figure,
        before,
        after,
        difference,
        float(low),
        float(high),
        margin,
        bool(beyond and real),
    )


def _reason(found: Comparison) -> str:
    return (
        f"{found.samples}: {found.figure} went from {found.old:.3f} to {found.new:.3f} "
        f"({found.difference:+.3f}, 95 % interval {found.low:+.3f} to {found.high:+.3f}), "
        f"margin {found.margin:.3f}"
    )
