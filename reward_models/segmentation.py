"""How far rewards and advantages move when the same text is cut differently.

What a step is worth should not depend on where else the text is cut. A judge that reads marks
between steps sees other input under another cut, and a credit rule that sums over steps pays for
their number: a policy learns to write the layout that such a reward likes (steps that are padding,
or one long step). Here the same texts are cut in other ways, and compared with the configured cut:

- "merged": every second end dropped, so that two steps become one,
- "split": an end more in the middle of each step,
- "whole": one step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from iterative_grpo.credit import credit
from iterative_grpo.protocols import CreditRule, Normalize, Splitter
from iterative_grpo.types import StepRewards

Score = Callable[[Splitter], Sequence[StepRewards]]
"""Rewards of a fixed list of texts, cut by the splitter that is given."""


@dataclass(frozen=True, slots=True)
class Shift:
    """What one other cut changes.

    Rewards at the `ends` that both cuts have: mean and largest absolute difference. Advantages of
    outputs: mean absolute difference of the first token's and of the mean over characters, in
    units of their root mean square under the configured cut; and the share of outputs whose first
    token's advantage changes its sign, so that the policy learns the opposite of them.
    """

    cut: str
    ends: int
    reward_mean: float
    reward_max: float
    first_token: float
    whole_output: float
    flipped: float


@dataclass(frozen=True, slots=True)
class Recut:
    """A splitter that changes another one's ends; the last end stays."""

    splitter: Splitter
    cut: str

    def split(self, text: str) -> tuple[int, ...]:
        """Return the changed ends of `text`."""
        return CUTS[self.cut](text, self.splitter.split(text))


def merged(text: str, ends: Sequence[int]) -> tuple[int, ...]:
    """Drop every second end, counted so that the last one stays."""
    return tuple(ends[::-1][::2][::-1])


def split(text: str, ends: Sequence[int]) -> tuple[int, ...]:
    """Add an end in each step that has two visible characters: after the space next to its middle.

    In a step without a space it is the middle itself.
    """
    return tuple(_halved(text, ends))


def whole(text: str, ends: Sequence[int]) -> tuple[int, ...]:
    """Keep the last end alone."""
    return (ends[-1],)


CUTS: dict[str, Callable[[str, Sequence[int]], tuple[int, ...]]] = {
    "merged": merged,
    "split": split,
    "whole": whole,
}


def measure(
    score: Score,
    splitter: Splitter,
    texts: Sequence[str],
    groups: Sequence[str],
    rule: CreditRule,
    normalize: Normalize,
) -> list[Shift]:
    """Return what each other cut changes; `groups[i]` names the group of `texts[i]`.

    Raises ValueError if lists differ in length, or `score` does not follow the splitter given.
    """
    if len(texts) != len(groups):
        raise ValueError(f"{len(texts)} texts for {len(groups)} names of groups; expected one each")

    def outcome(by: Splitter) -> _Outcome:
        return _Outcome(_checked(score(by), by, texts), groups, rule, normalize)

    known = outcome(splitter)
    return [known.shift(cut, outcome(Recut(splitter, cut))) for cut in CUTS]


def _checked(
    rewards: Sequence[StepRewards], splitter: Splitter, texts: Sequence[str]
) -> Sequence[StepRewards]:
    for text, reward in zip(texts, rewards, strict=True):
        if reward.ends != splitter.split(text):
            raise ValueError(
                f"rewards at ends {list(reward.ends)} where the splitter cuts at "
                f"{list(splitter.split(text))}; a reward source uses the splitter it is given"
            )
    return rewards


class _Outcome:
    """The rewards of all texts under one cut, and the advantages that come of them."""

    def __init__(
        self,
        rewards: Sequence[StepRewards],
        groups: Sequence[str],
        rule: CreditRule,
        normalize: Normalize,
    ) -> None:
        self.rewards = rewards
        members: dict[str, list[int]] = {}
        for row, group in enumerate(groups):
            members.setdefault(group, []).append(row)
        credited = credit(
            rule, [[rewards[row].values for row in rows] for rows in members.values()], normalize
        )
        self.first = [0.0] * len(rewards)
        self.mean = [0.0] * len(rewards)
        for rows, outputs in zip(members.values(), credited, strict=True):
            for row, advantages in zip(rows, outputs, strict=True):
                self.first[row] = advantages[0]
                self.mean[row] = _over_characters(rewards[row].ends, advantages)

    def shift(self, cut: str, other: _Outcome) -> Shift:
        """Return what the other cut changes."""
        moved = [
            abs(values[end] - value)
            for mine, theirs in zip(self.rewards, other.rewards, strict=True)
            for values in [dict(zip(theirs.ends, theirs.values, strict=True))]
            for end, value in zip(mine.ends, mine.values, strict=True)
            if end in values
        ]
        return Shift(
            cut=cut,
            ends=len(moved),
            reward_mean=fmean(moved),
            reward_max=max(moved),
            first_token=_relative(self.first, other.first),
            whole_output=_relative(self.mean, other.mean),
            flipped=fmean(a * b < 0 for a, b in zip(self.first, other.first, strict=True)),
        )


def _over_characters(ends: Sequence[int], advantages: Sequence[float]) -> float:
    """Return the mean advantage of a character; of an empty output, its step's."""
    if not ends[-1]:
        return advantages[0]
    starts = (0, *ends[:-1])
    return (
        math.fsum(a * (e - s) for a, s, e in zip(advantages, starts, ends, strict=True)) / ends[-1]
    )


def _relative(known: Sequence[float], other: Sequence[float]) -> float:
    """Return the mean absolute difference over the root mean square of what is known."""
    size = math.sqrt(fmean(value * value for value in known))
    moved = fmean(abs(a - b) for a, b in zip(known, other, strict=True))
    return moved / size if size else 0.0


def _halved(text: str, ends: Sequence[int]) -> Iterator[int]:
    start = 0
    for end in ends:
        shown = [i for i in range(start, end) if not text[i].isspace()]
        if len(shown) > 1:
            middle = (shown[0] + shown[-1] + 1) // 2
            gaps = [i + 1 for i in range(shown[0], shown[-1]) if text[i].isspace()]
            yield min(gaps, key=lambda gap: abs(gap - middle), default=middle)
        yield end
        start = end
