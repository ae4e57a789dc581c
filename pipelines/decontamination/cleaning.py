"""Reads a run's training and evaluation questions, and decides which training questions stay."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from iterative_grpo.types import Problem
from pipelines import datasets
from pipelines.artifacts import fingerprint_of
from pipelines.config import Action, Decontaminate
from pipelines.datasets import Split
from pipelines.decontamination.overlap import Index, Kind, Match

Identity = Callable[[Problem], str]


class Contaminated(ValueError):
    """Training questions that the evaluation asks too, where the settings refuse them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A training question and the evaluation question of `task` that it resembles most."""

    kind: Kind
    similarity: float
    action: Action
    task: str
    train: Problem
    evaluation: Problem


@dataclass(frozen=True, slots=True)
class Compared:
    """An evaluation set that the training questions were compared with."""

    task: str
    questions: int
    fingerprint: str
    by: str
    """`text`, or `identity`: what a set that makes its questions tells them apart by."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was compared and found; at most one pair of a training question and a task."""

    settings: Decontaminate | None
    trained: int
    compared: tuple[Compared, ...] = ()
    pairs: tuple[Pair, ...] = ()
    passed_over: tuple[str, ...] = ()
    """Tasks that are the training split itself."""

    @property
    def dropped(self) -> dict[str, Pair]:
        """The training questions that are left out, by id, each with its first reason."""
        found: dict[str, Pair] = {}
        for pair in self.pairs:
            if pair.action == "drop":
                found.setdefault(pair.train.id, pair)
        return found

    @property
    def fingerprint(self) -> str | None:
        """What a phase depends on: which questions were left out, not how they were found."""
        dropped = sorted(self.dropped)
        return f"{len(dropped)} questions, {fingerprint_of(dropped)[:16]}" if dropped else None

    def counts(self, task: str) -> Counter[Kind]:
        """Return how many training questions were found against a task, by kind."""
        return Counter(pair.kind for pair in self.pairs if pair.task == task)

    def clean(self, problems: Sequence[Problem]) -> tuple[Problem, ...]:
        """Return the problems that are not left out, in their order."""
        dropped = self.dropped
        return tuple(problem for problem in problems if problem.id not in dropped)


def find(
    training: Split,
    tasks: Sequence[str],
    settings: Decontaminate | None,
    *,
    path: Path | None = None,
    limit: int | None = None,
) -> Findings:
    """Compare training questions with all questions of the evaluation sets.

    Whole sets are compared, whatever `limit` the evaluation takes of them: another limit then
    changes no training question. A task that is the training split itself is passed over.

    Args:
        training: the training split.
        tasks: evaluation sets as `data set/split` or `data set`, whose test split is meant.
        settings: what counts as found, and what is done about it; None compares nothing.
        path: the folder that the sets are read from, or None for the hub.
        limit: how many questions are made of a set that makes its questions.

    Raises:
        Contaminated: a pair of a kind that the settings refuse, or no training question is left.
        DataError: an evaluation set cannot be read.
    """
    if settings is None:
        return Findings(None, len(training.problems))
    compared: list[Compared] = []
    pairs: list[Pair] = []
    passed_over: list[str] = []
    for dataset, split in dict.fromkeys(map(datasets.parted, tasks)):
        asked = _load(dataset, split, path, limit)
        task = f"{asked.name}/{asked.split}"
        if task == f"{training.name}/{training.split}":
            passed_over.append(task)
            continue
        identity = _identity(training.name) if training.name == asked.name else None
        by = "text" if identity is None else "identity"
        compared.append(Compared(task, len(asked.problems), asked.fingerprint, by))
        if identity is None:
            matches = _by_text(training.problems, asked.problems, settings)
        else:
            matches = _by_identity(training.problems, asked.problems, identity)
        for problem, match in zip(training.problems, matches, strict=True):
            action = "ignore" if match is None else settings.action(match.kind)
            if match is not None and action != "ignore":
                other = asked.problems[match.other]
                pairs.append(Pair(match.kind, match.similarity, action, task, problem, other))
    found = Findings(
        settings, len(training.problems), tuple(compared), tuple(pairs), tuple(passed_over)
    )
    _refuse(found)
    return found


def _by_text(
    training: Sequence[Problem], asked: Sequence[Problem], settings: Decontaminate
) -> list[Match | None]:
    index = Index([problem.question for problem in asked], settings.similarity, settings.words)
    return [index.strongest(problem.question) for problem in training]


def _by_identity(
    training: Sequence[Problem], asked: Sequence[Problem], identity: Identity
) -> list[Match | None]:
    """Compare made questions by what tells them apart: all of them are of few templates."""
    known = {identity(problem): place for place, problem in enumerate(asked)}
    places = [known.get(identity(problem)) for problem in training]
    return [None if place is None else Match("exact", place, 1.0) for place in places]


def _identity(name: str) -> Identity | None:
    return getattr(datasets.find(name), "identity", None)


@functools.lru_cache(maxsize=8)
def _load(name: str, split: str, path: Path | None, limit: int | None) -> Split:
    # Of a made set the questions that will be asked, of others all there are.
    made = bool(getattr(datasets.find(name), "MADE", False))
    return datasets.load(name, split, path=None if made else path, limit=limit if made else None)


def _refuse(found: Findings) -> None:
    refused = [pair for pair in found.pairs if pair.action == "refuse"]
    if refused:
        first = refused[0]
        kinds = ", ".join(sorted({pair.kind for pair in refused}))
        raise Contaminated(
            f"{len(refused)} training questions resemble evaluation questions ({kinds}); first "
            f"{first.train.id}, {first.train.question[:80]!r}, and {first.evaluation.id}, "
            f"{first.evaluation.question[:80]!r}. Take them out of the training data, or set "
            f"data.decontaminate.{first.kind}=drop to leave them out"
        )
    if found.trained and len(found.dropped) == found.trained:
        first = next(iter(found.dropped.values()))
        raise Contaminated(
            f"all {found.trained} training questions are asked in the evaluation too, so that none "
            f"is left to train on; first {first.train.id} = {first.evaluation.id}. Train on other "
            "questions, evaluate on others, or set data.decontaminate=null to train on them anyway"
        )
