"""Uncertainty of what is reported: a share of n answers, a mean over seeds or questions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z_95 = 1.959963984540054
"""97.5% quantile of the standard normal distribution."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95% interval; without one, `low` and `high` are NaN."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2


def wilson(correct: int, n: int) -> Estimate:
    """Return the share `correct / n` with its Wilson score interval (Wilson 1927), 95%.

    Unlike share +- 1.96 s it stays inside [0, 1] and has a width at 0 and at n.
    """
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} of {n}: expected 0 <= correct <= n and n >= 1")
    share = correct / n
    z2 = Z_95 * Z_95
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # The bounds at 0 and n are exact; rounding must not move them past the share.
    low = 0.0 if correct == 0 else centre - half
    high = 1.0 if correct == n else centre + half
    return Estimate(share, low, high)


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean with its 95% t-interval (Student 1908), mean +- t * s / sqrt(n).

    `s` is the sample standard deviation over n independent runs. One run has no interval.
    """
    if not values:
        raise ValueError("a mean over seeds needs at least one value, found none")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Estimate(mean, math.nan, math.nan)
    from scipy.special import stdtrit

    half = (
        float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))
    )
    return Estimate(mean, mean - half, mean + half)


def means_over_questions(
    values_QF: NDArray[np.float64], *, resamples: int = 2_000, seed: int = 0
) -> list[Estimate]:
    """Return the mean of each figure over questions, with a 95% percentile bootstrap interval.

    Args:
        values_QF: F figures of Q questions. Questions are drawn with return, each with all its
            figures: what is uncertain is which questions were asked (Efron 1979).
        resamples: draws.
        seed: of the draws; the same one gives the same intervals.
    """
    import numpy as np

    questions, figures = values_QF.shape
    if not questions:
        raise ValueError("a mean over questions needs at least one question, found none")
    generator = np.random.default_rng(seed)
    means_RF = np.empty((resamples, figures))
    for number in range(resamples):
        drawn_Q = generator.integers(0, questions, questions)
        times_Q = np.bincount(drawn_Q, minlength=questions)
        means_RF[number] = times_Q @ values_QF / questions
    low_F, high_F = np.quantile(means_RF, [0.025, 0.975], axis=0)
    mean_F = values_QF.mean(axis=0)
    return [Estimate(*map(float, row)) for row in zip(mean_F, low_F, high_F, strict=True)]
