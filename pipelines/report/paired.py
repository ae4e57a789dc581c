"""Two evaluations on the same questions: is the difference more than luck?"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from pipelines.report.intervals import Estimate

RESAMPLES = 10_000


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p-value of the exact McNemar test (McNemar 1947).

    Of the questions that changed sides each is as likely to be gained as lost if nothing has
    changed: a binomial test with a half. It is twice the smaller tail, at most 1.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"{gained} gained and {lost} lost: expected counts of questions")
    changed = gained + lost
    tail = term = 1
    for k in range(min(gained, lost)):
        term = term * (changed - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << changed))


def paired_bootstrap(
    differences: Sequence[float], resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Return the mean difference with its 95% percentile interval (Efron 1979).

    Args:
        differences: of each question what the second side scores more than the first, with one
            answer -1, 0 or 1, with several the difference of two shares. Both sides of a question
            are drawn together, so that what makes it hard for both cancels.
        resamples: how often as many questions are drawn, each with replacement.
        seed: fixes the draws.

    It is `intervals.means_over_questions` of one figure that takes few values, and much faster.
    Where no question differs the interval has no width: resampling cannot show what was not seen.
    """
    import numpy as np

    if not differences:
        raise ValueError("a mean difference needs at least one question, found none")
    # Questions of equal difference are exchangeable: drawing how many of each kind come is
    # drawing the questions, and costs no more for a thousand of them than for ten.
    kinds = Counter(differences)
    values, n = np.array(sorted(kinds)), len(differences)
    shares = np.array([kinds[value] for value in sorted(kinds)]) / n
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=resamples)
    low, high = np.quantile(drawn @ values / n, [0.025, 0.975])
    return Estimate(statistics.fmean(differences), float(low), float(high))
