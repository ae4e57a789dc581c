"""Sample solutions worth reading: where reward and verifier disagree most, and where they agree."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import places
from pipelines.report.run import Row, json_lines, number, parse_lines
from pipelines.report.visible import LIMIT

TAIL_BYTES = 8_000_000
"""Of each iteration's rollouts only the end is read: the latest samples, at a bounded cost."""

PER_CELL = 4
ITERATIONS = 6


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a solution with its reward; `reward` is None where none was stored."""

    text: str
    reward: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One rollout as it was rewarded; `correct` is None where no verifier was asked."""

    problem_id: str
    question: str
    answer: str
    correct: bool | None
    steps: tuple[Step, ...]
    policy_step: int | None

    @property
    def score(self) -> float | None:
        """Mean of its rewards."""
        rewards = [step.reward for step in self.steps if step.reward is not None]
        return statistics.fmean(rewards) if rewards else None


def faults(sample: Sample) -> list[str]:
    """Return for each step what the arithmetic checker finds wrong in it, or an empty text.

    Texts beyond what is shown are not checked.
    """
    from verifiers.steps import StepOutcome, check_spans

    ends = list(itertools.accumulate(len(step.text) for step in sample.steps))
    if not ends or ends[0] == 0 or ends[-1] > LIMIT:
        return ["" for _ in ends]
    text = "".join(step.text for step in sample.steps)
    return [
        verdict.detail if verdict.outcome is StepOutcome.WRONG else ""
        for verdict in check_spans(text, ends)
    ]


@dataclass(frozen=True, slots=True)
class Cell:
    """Samples of one kind, the most telling first."""

    heading: str
    samples: tuple[Sample, ...]
    count: int


def iterations_with_rollouts(run: Path) -> list[int]:
    """Return which iterations have rollouts, the first and the last ones if they are many."""
    found = places.with_rollouts(run)
    return found if len(found) <= ITERATIONS else [found[0], *found[1 - ITERATIONS :]]


def only_the_last(run: Path, iteration: int) -> bool:
    """Return whether `cells` shows and counts the end of an iteration's rollouts alone."""
    try:
        return places.rollouts(run, iteration).stat().st_size > TAIL_BYTES
    except OSError:
        return False


def cells(run: Path, iteration: int) -> list[Cell]:
    """Return the cells of reward against verdict for an iteration's last rollouts.

    A reward is high when it is above the middle between its lowest and its highest one here, or
    above a half where rewards are shares.
    """
    file = places.rollouts(run, iteration)
    problems = problems_of(file.parent)
    made = [_sample(row, problems) for row in _tail(file)]
    scored = [(sample.score, sample) for sample in made]
    known = [(score, sample) for score, sample in scored if score is not None]
    if not known:
        return []
    low, high = min(score for score, _ in known), max(score for score, _ in known)
    middle = 0.5 if low >= 0 and high <= 1 else (low + high) / 2
    rising = sorted(known, key=lambda pair: pair[0])
    falling = rising[::-1]

    def cell(
        heading: str, order: list[tuple[float, Sample]], right: bool | None, above: bool | None
    ) -> Cell:
        chosen = [
            s
            for score, s in order
            if s.correct is right and (above is None or (score > middle) is above)
        ]
        return Cell(heading, tuple(varied(chosen)[:PER_CELL]), len(chosen))

    found = [
        cell("Wrong, yet rewarded", falling, right=False, above=True),
        cell("Right, yet not rewarded", rising, right=True, above=False),
        cell("Right and rewarded", falling, right=True, above=True),
        cell("Wrong and not rewarded", rising, right=False, above=False),
        cell("Not verified", falling, right=None, above=None),
    ]
    return [cell for cell in found if cell.samples]


def varied(samples: Sequence[Sample]) -> list[Sample]:
    """Put one sample of each problem first: four answers to one question tell less than one."""
    seen: set[str] = set()
    first: list[Sample] = []
    rest: list[Sample] = []
    for sample in samples:
        (rest if sample.problem_id in seen else first).append(sample)
        seen.add(sample.problem_id)
    return first + rest


def _tail(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            if size > TAIL_BYTES:
                file.readline()  # the middle of a line
            return parse_lines(file.read(), path.name, [])
    except OSError:
        return []


def problems_of(folder: Path) -> dict[str, Row]:
    """Return the questions of an optimize phase by their ids."""
    return {str(row.get("id")): row for row in json_lines(folder / "questions.jsonl", [])}


def _sample(row: Row, problems: Mapping[str, Row]) -> Sample:
    text = row.get("text")
    text = text if isinstance(text, str) else ""
    problem_id = str(row.get("problem_id", ""))
    problem = problems.get(problem_id, {})
    return Sample(
        problem_id=problem_id,
        question=str(problem.get("question", "")),
        answer=str(problem.get("answer", "")),
        correct=correct if isinstance(correct := row.get("correct"), bool) else None,
        steps=_steps(text, row.get("ends"), row.get("rewards")),
        policy_step=None if (step := number(row, "step")) is None else int(step),
    )


def _steps(text: str, ends: object, rewards: object) -> tuple[Step, ...]:
    """Cut a text at its ends; ends that are no cut of it leave it whole."""
    values = rewards if isinstance(rewards, list) else [rewards]
    numbers = [number({"reward": value}, "reward") for value in values]
    if not (
        isinstance(ends, list)
        and len(ends) == len(numbers)
        and all(isinstance(end, int) and 0 <= end <= len(text) for end in ends)
        and ends == sorted(ends)
    ):
        known = [value for value in numbers if value is not None]
        return (Step(text, statistics.fmean(known) if known else None),)
    starts = [0, *ends[:-1]]
    steps = [Step(text[a:b], v) for a, b, v in zip(starts, ends, numbers, strict=True)]
    rest = text[ends[-1] :] if ends else text
    return (*steps, Step(rest, None)) if rest else tuple(steps)
