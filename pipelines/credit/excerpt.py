"""The steps of a solution in a few words each, for a table or a picture."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.credit.comparison import Solution
from pipelines.report.visible import visible

MOST = 30
"""Steps of one solution that are shown."""


@dataclass(frozen=True, slots=True)
class ShownStep:
    """A step's number, counted from 1, with its text on one line and its reward."""

    number: int
    text: str
    reward: float


def steps(solution: Solution, width: int) -> list[ShownStep]:
    """Return a solution's first steps, their texts cut to `width` characters."""
    rollout = solution.rollout
    starts = (0, *rollout.rewards.ends[:-1])
    spans = zip(starts, rollout.rewards.ends, rollout.rewards.values, strict=True)
    return [
        ShownStep(number, cut(rollout.text[start:end], width), reward)
        for number, (start, end, reward) in enumerate(spans, start=1)
        if number <= MOST
    ]


def cut(text: str, width: int) -> str:
    """Return a text on one line of at most `width` visible characters."""
    line = " ".join(visible(text[: 4 * width]).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def heading(solution: Solution) -> str:
    """Return which solution it is, and what is known of it."""
    rollout = solution.rollout
    verdict = {True: "correct", False: "incorrect", None: "not verified"}[rollout.correct]
    count = len(rollout.rewards.ends)
    return (
        f"{cut(rollout.problem_id, 60)}, sample {rollout.sample}, policy step {solution.step}: "
        f"{verdict}, {count} step{'s' if count > 1 else ''}, {rollout.tokens} tokens"
        + (", truncated" if rollout.finish.value == "length" else "")
    )


def left_out(solution: Solution) -> str:
    """Return a line about the steps that are not shown, or nothing."""
    count = len(solution.rollout.rewards.ends) - MOST
    return f"{count} more steps" if count > 0 else ""
