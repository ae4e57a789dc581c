"""The last reward of each output apart from those before it, each normalised among its own kind.

Rules that pay a solution's outcome once and judge the steps on the way by another measure need
both. The reward at the last end judges the whole solution, so it stands for the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass

from iterative_grpo.protocols import Normalize, Rewards


@dataclass(frozen=True, slots=True)
class LastAndBefore:
    """Normalised rewards: `last` steps' (P, G), and those of all steps `before` them (P, G, S)."""

    last: list[list[float]]
    before: list[list[list[float]]]


def last_and_before(rewards_PGS: Rewards, normalize: Normalize) -> LastAndBefore:
    """Normalise the last rewards of each group, and by themselves the rewards before them.

    Pooled with the steps, the outcomes of a group would be judged by how many steps each has.
    An output of one step has nothing before it, and an empty list there.
    """
    last = normalize([[[output[-1]] for output in group] for group in rewards_PGS])
    before = [[list(output[:-1]) for output in group] for group in rewards_PGS]
    # Where every output of a group is one step, there is no mean to take.
    chosen = [place for place, group in enumerate(before) if any(group)]
    if chosen:
        normalized = normalize([before[place] for place in chosen])
        for place, group in zip(chosen, normalized, strict=True):
            before[place] = group
    return LastAndBefore([[value for (value,) in group] for group in last], before)
