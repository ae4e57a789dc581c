"""Pairs the questions of two sides and measures what is different between them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.comparison.answers import Answer, Evaluation, Question, Side
from pipelines.report.intervals import Estimate
from pipelines.report.paired import mcnemar, paired_bootstrap

Pairing = Sequence[tuple[Question, Question]]

FATES: dict[str, Callable[[Answer], bool]] = {
    "incorrect": lambda answer: answer.outcome == "incorrect",
    "no answer": lambda answer: answer.outcome == "no_answer",
    "unparsed": lambda answer: answer.outcome == "unparsed",
    "timeout": lambda answer: answer.outcome == "timeout",
    "truncated": lambda answer: answer.truncated,
}
"""What becomes of answers that are not right; a truncated one has an outcome besides."""


class NotComparable(ValueError):
    """Sides that did not answer the same questions."""


@dataclass(frozen=True, slots=True)
class Change:
    """A yes or no of each question on both sides: how many have it, and how many changed."""

    name: str
    first: int
    second: int
    gained: int
    lost: int

    @property
    def p(self) -> float:
        """The exact McNemar test's p-value."""
        return mcnemar(self.gained, self.lost)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean accuracy of both sides over the same questions, and the second's lead.

    `answers` says which: the greedy ones, or those that were drawn, averaged for each question.
    """

    answers: Literal["greedy", "sampled"]
    questions: int
    first: float
    second: float
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Switched:
    """A question whose greedy answer is right on one side only: `gained` if on the second."""

    id: str
    question: str
    gold: str
    gained: bool
    first: Answer
    second: Answer


@dataclass(frozen=True, slots=True)
class TaskComparison:
    """A task on both sides; `only_first` and `only_second` count questions that were left out."""

    task: str
    questions: int
    only_first: int
    only_second: int
    accuracies: tuple[Accuracy, ...]
    correct: Change | None
    fates: tuple[Change, ...]
    switched: tuple[Switched, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything about two sides, the second measured against the first."""

    first: Side
    second: Side
    tasks: tuple[TaskComparison, ...]
    notes: tuple[str, ...]


def compare(first: Side, second: Side, *, common: bool = False) -> Comparison:
    """Compare two sides on the tasks that both have.

    Raises NotComparable if there is none, or if a task's questions are not the same on both sides;
    with `common` what both answered is compared then, if there is anything.
    """
    shared = [task for task in first.evaluations if task in second.evaluations]
    if not shared:
        raise NotComparable(
            f"no task in common: {first.place} has {', '.join(first.evaluations)}, "
            f"{second.place} has {', '.join(second.evaluations)}"
        )
    notes = [
        f"{task} was evaluated in {name} only"
        for name, side, other in (("A", first, second), ("B", second, first))
        for task in side.evaluations
        if task not in other.evaluations
    ]
    tasks = [
        _task(first.evaluations[task], second.evaluations[task], common=common) for task in shared
    ]
    return Comparison(first, second, tuple(tasks), tuple(notes))


def _task(first: Evaluation, second: Evaluation, *, common: bool) -> TaskComparison:
    both = [key for key in first.questions if key in second.questions]
    only_first, only_second = len(first.questions) - len(both), len(second.questions) - len(both)
    if not both or ((only_first or only_second) and not common):
        raise NotComparable(_other_questions(first, second, len(both)))
    pairs = [(first.questions[key], second.questions[key]) for key in both]
    greedy = [(a, b) for a, b in pairs if a.greedy and b.greedy]
    sampled = [(a, b) for a, b in pairs if a.sampled and b.sampled]
    accuracies = []
    if greedy:
        accuracies.append(_accuracy("greedy", greedy, lambda it: [it.greedy] if it.greedy else []))
    if sampled:
        accuracies.append(_accuracy("sampled", sampled, lambda it: it.sampled))
    return TaskComparison(
        task=first.task,
        questions=len(pairs),
        only_first=only_first,
        only_second=only_second,
        accuracies=tuple(accuracies),
        correct=_change("correct", greedy, lambda answer: answer.correct) if greedy else None,
        fates=tuple(_change(name, greedy, has) for name, has in FATES.items()),
        switched=tuple(_switched(greedy)),
        notes=tuple(_notes(first, second, pairs)),
    )


def _accuracy(
    answers: Literal["greedy", "sampled"],
    pairs: Pairing,
    chosen: Callable[[Question], Sequence[Answer]],
) -> Accuracy:
    def share(question: Question) -> float:
        return statistics.fmean(answer.correct for answer in chosen(question))

    firsts, seconds = [share(a) for a, _ in pairs], [share(b) for _, b in pairs]
    return Accuracy(
        answers=answers,
        questions=len(pairs),
        first=statistics.fmean(firsts),
        second=statistics.fmean(seconds),
        difference=paired_bootstrap([b - a for a, b in zip(firsts, seconds, strict=True)]),
    )


def _change(name: str, pairs: Pairing, has: Callable[[Answer], bool]) -> Change:
    found = [(has(a.greedy), has(b.greedy)) for a, b in pairs if a.greedy and b.greedy]
    return Change(
        name=name,
        first=sum(a for a, _ in found),
        second=sum(b for _, b in found),
        gained=sum(b and not a for a, b in found),
        lost=sum(a and not b for a, b in found),
    )


def _switched(pairs: Pairing) -> list[Switched]:
    """Return the questions that changed sides, those that the second side gained first."""
    found = [
        Switched(a.id, a.text, a.gold, b.greedy.correct, a.greedy, b.greedy)
        for a, b in pairs
        if a.greedy and b.greedy and a.greedy.correct != b.greedy.correct
    ]
    return sorted(found, key=lambda switched: not switched.gained)


def _notes(first: Evaluation, second: Evaluation, pairs: Pairing) -> list[str]:
    notes = [
        f"{key} is {first.conditions.get(key, 'not stated')} in A and "
        f"{second.conditions.get(key, 'not stated')} in B"
        for key in sorted({*first.conditions, *second.conditions})
        if first.conditions.get(key) != second.conditions.get(key)
    ]
    counts = {(len(a.sampled), len(b.sampled)) for a, b in pairs}
    if any(a != b for a, b in counts):
        notes.append("A and B have different numbers of samples of a question")
    return notes


def _other_questions(first: Evaluation, second: Evaluation, both: int) -> str:
    data = (
        f" (data {first.fingerprint[:12] or 'unknown'} and {second.fingerprint[:12] or 'unknown'})"
        if first.fingerprint != second.fingerprint
        else " (of the same data)"
    )
    counts = f"{len(first.questions):,} in A, {len(second.questions):,} in B, {both:,} in both"
    advice = "Evaluate both on the same data and with the same limit and seed" + (
        f", or give --common to compare the {both:,} that both answered" if both else ""
    )
    return f"{first.task}: A and B did not answer the same questions{data}: {counts}. {advice}"
