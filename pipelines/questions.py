"""The questions of a run: the training split, who verifies it, and what a phase draws from it."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iterative_grpo import timing
from iterative_grpo.types import Problem
from pipelines import datasets, decontamination
from pipelines.config import Config, Data
from pipelines.datasets import Split


def convention(config: Config) -> str:
    """Return the verifier convention of the training data."""
    return config.verifier or datasets.find(config.data.name).VERIFIER


def training(config: Config) -> Split:
    """Return the training split, without bad golds and without what the evaluation asks too."""
    return _found_before(config.data, config.seed) if _found else _cleaned_of(config).split


def contamination(config: Config) -> decontamination.Findings:
    """Return which training questions resemble the evaluation's, and what was done about them."""
    return _cleaned_of(config).findings


def as_found(config: Config) -> dict[str, Any]:
    """Return as JSON what this process found out about the training questions; see `take_over`."""
    split = training(config)
    return {"fingerprint": split.fingerprint, "ids": [problem.id for problem in split.problems]}


def take_over(found: Mapping[str, Any]) -> None:
    """Let this process keep the questions that the command which launched it has kept.

    To try every gold and to compare with every evaluation set takes minutes for 100,000 questions,
    which the processes of each phase would spend again.
    """
    global _found
    _found = found
    _found_before.cache_clear()


_found: Mapping[str, Any] = {}
"""What was taken over, if anything was."""


@functools.lru_cache(maxsize=1)
def _found_before(data: Data, seed: int) -> Split:
    with timing.part(timing.INPUT_OUTPUT):
        split = datasets.load(data.name, "train", path=data.path, limit=data.limit, seed=seed)
    if split.fingerprint != _found["fingerprint"]:
        raise datasets.DataError(
            f"{split.source} has changed since this command read it; start it again"
        )
    ids = set(_found["ids"])
    return replace(split, problems=tuple(each for each in split.problems if each.id in ids))


@dataclass(frozen=True, slots=True)
class _Cleaned:
    split: Split
    findings: decontamination.Findings


def _cleaned_of(config: Config) -> _Cleaned:
    evaluate = config.evaluate
    return _clean(config.data, config.seed, evaluate.tasks, evaluate.limit)


@functools.lru_cache(maxsize=8)
def _clean(data: Data, seed: int, tasks: tuple[str, ...], limit: int | None) -> _Cleaned:
    """Read and clean the training split once a process."""
    split = load(data.name, "train", data.path, data.limit, seed, data.max_bad_golds)
    found = decontamination.find(split, tasks, data.decontaminate, path=data.path, limit=limit)
    return _Cleaned(replace(split, problems=found.clean(split.problems)), found)


@functools.lru_cache(maxsize=8)
def load(
    name: str,
    split: str,
    path: Path | None,
    limit: int | None,
    seed: int,
    max_bad_golds: float,
) -> Split:
    """Load a split once a process; golds are tried with the verifier."""
    with timing.part(timing.INPUT_OUTPUT):
        return datasets.load(
            name,
            split,
            path=path,
            limit=limit,
            seed=seed,
            check_gold=check_gold,
            max_bad_golds=max_bad_golds,
        )


def check_gold(gold: str) -> None:
    """Raise ValueError for a gold answer that cannot be verified by, in any convention."""
    import verifiers

    # Any other answer makes the verifier read the gold; the gold itself is equal as a text.
    verifiers.verify(r"\boxed{0}", gold, convention="math")


def draw(problems: Sequence[Problem], count: int, seed: int) -> list[Problem]:
    """Draw `count` problems: each once before any comes twice, in an order fixed by the seed."""
    order = random.Random(f"draw/{seed}")  # noqa: S311 - reproducible, guards nothing
    drawn: list[Problem] = []
    while len(drawn) < count:
        shuffled = list(problems)
        order.shuffle(shuffled)
        drawn += shuffled[: count - len(drawn)]
    return drawn
