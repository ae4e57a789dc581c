"""Whether a rule pays for length: first-token advantages against steps and tokens.

The first token's advantage is what the solution as a whole is worth to the rule, and steps and
tokens are what a policy can add without being more right. Correct and incorrect solutions are kept
apart: where wrong solutions are longer, a rule that is only right would look biased over all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.credit.comparison import Comparison, Solution

KINDS: Mapping[str, bool | None] = {"correct": True, "incorrect": False, "unverified": None}


@dataclass(frozen=True, slots=True)
class Bias:
    """A rule on the solutions of one kind.

    `steps` and `tokens` are Pearson correlations of the first-token advantage with the number of
    steps and of tokens; None where one of the two does not vary or there are fewer than three
    solutions. `mean` is the mean first-token advantage.
    """

    rule: str
    kind: str
    solutions: int
    mean: float
    steps: float | None
    tokens: float | None


def biases(comparison: Comparison) -> list[Bias]:
    """Return each rule's biases on correct, incorrect, unverified and all solutions."""
    kinds = {
        kind: [s for s in comparison.solutions if s.rollout.correct is verdict]
        for kind, verdict in KINDS.items()
    } | {"all": list(comparison.solutions)}
    return [
        _bias(rule, kind, chosen)
        for rule in comparison.rules
        for kind, chosen in kinds.items()
        if chosen
    ]


def _bias(rule: str, kind: str, solutions: Sequence[Solution]) -> Bias:
    first = [solution.advantages[rule][0] for solution in solutions]
    return Bias(
        rule=rule,
        kind=kind,
        solutions=len(solutions),
        mean=math.fsum(first) / len(first),
        steps=correlation(first, [float(len(s.rollout.rewards.ends)) for s in solutions]),
        tokens=correlation(first, [float(s.rollout.tokens) for s in solutions]),
    )


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Return Pearson's correlation of two equally long samples, or None where it has no meaning."""
    if len(xs) < 3 or min(xs) == max(xs) or min(ys) == max(ys):
        return None
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    away_x, away_y = [x - mean_x for x in xs], [y - mean_y for y in ys]
    common = math.fsum(x * y for x, y in zip(away_x, away_y, strict=True))
    spread = math.sqrt(math.fsum(x * x for x in away_x) * math.fsum(y * y for y in away_y))
    # Differences so small that their squares vanish are rounding, not spread.
    return max(-1.0, min(1.0, common / spread)) if spread > 0 else None
