"""The reward-hacking watch: when a policy phase should stop, and the reward model be retrained.

On the same rollouts the reward model's mean score is held against the share that the verifier finds
right. A policy that improves raises both; one that games its judge raises the first alone. The gap
at the phase's start is the judge's bias, so that the rule looks at how far the gap has grown since.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True, slots=True)
class Drift:
    """When to retrain early (`retrain_when`).

    `gap`: the mean score minus accuracy has grown by so much since the start. `pair_accuracy`: the
    share of right-wrong pairs of a group that the model orders rightly has fallen below it. `kl`:
    the policy is so far from the initial one. `window` steps are averaged; a rule needs `sure`
    standard errors, so that one odd step stops nothing. None switches a rule off.
    """

    gap: float | None = 0.15
    pair_accuracy: float | None = 0.65
    kl: float | None = None
    window: int = 5
    sure: float = 2.0

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window is {self.window}, must be at least 2 steps")


@dataclass(frozen=True, slots=True)
class Observation:
    """One policy step, on its own rollouts; None where a step does not define the figure.

    `gap` is the mean score minus the share of right ones.
    """

    gap: float
    pair_accuracy: float | None = None
    kl_initial: float | None = None


class Watch:
    """Fed with steps, says why the reward model should be retrained now, or nothing."""

    def __init__(self, rules: Drift) -> None:
        self.rules = rules
        self._first: list[float] = []
        self._recent: deque[Observation] = deque(maxlen=rules.window)

    def see(self, observation: Observation) -> str | None:
        """Take one step's figures; return the reason to retrain, None to go on."""
        if len(self._first) < self.rules.window:
            self._first.append(observation.gap)
        self._recent.append(observation)
        if len(self._recent) < self.rules.window:
            return None
        return self._gap() or self._pairs() or self._distance()

    def _gap(self) -> str | None:
        if self.rules.gap is None:
            return None
        now = [seen.gap for seen in self._recent]
        grown = fmean(now) - fmean(self._first)
        if grown - self.rules.sure * math.hypot(_error(now), _error(self._first)) <= 0:
            return None
        if grown <= self.rules.gap:
            return None
        return (
            f"the gap between score and accuracy has grown by {grown:.3f} (limit "
            f"{self.rules.gap}): from {fmean(self._first):+.3f} to {fmean(now):+.3f}"
        )

    def _pairs(self) -> str | None:
        found = [s.pair_accuracy for s in self._recent if s.pair_accuracy is not None]
        limit = self.rules.pair_accuracy
        if limit is None or len(found) < 2:
            return None
        if fmean(found) + self.rules.sure * _error(found) >= limit:
            return None
        return f"pair accuracy within groups is {fmean(found):.3f} (limit {limit})"

    def _distance(self) -> str | None:
        found = [s.kl_initial for s in self._recent if s.kl_initial is not None]
        if self.rules.kl is None or not found or fmean(found) <= self.rules.kl:
            return None
        return f"the policy is {fmean(found):.3f} from the initial one (limit {self.rules.kl})"


def _error(values: Sequence[float]) -> float:
    """Return the standard error of the mean."""
    return stdev(values) / math.sqrt(len(values))
