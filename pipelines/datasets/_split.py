"""What a data set's file hands over (`Rows`) and what `load` makes of it (`Split`)."""

from __future__ import annotations

from dataclasses import dataclass

from iterative_grpo.types import Problem


@dataclass(frozen=True, slots=True)
class Rows:
    """The problems of one split as a data set reads or makes them.

    `fingerprint` is the sha256 of what was read, `source` says in words where it came from, `note`
    how it differs from the official set (empty when it does not), `rejected` names rows left out.
    `official` says that the rows were compared with the official set and are equal.
    """

    problems: tuple[Problem, ...]
    fingerprint: str
    source: str
    note: str = ""
    rejected: tuple[str, ...] = ()
    official: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a data set, ready for use. `rejected` names rows left out for their golds.

    `rows` is the size of the split that the problems were chosen from.
    """

    name: str
    split: str
    problems: tuple[Problem, ...]
    fingerprint: str
    source: str
    rejected: tuple[str, ...] = ()
    note: str = ""
    official: bool = False
    rows: int = 0


class UnknownSplit(ValueError):
    """A split that a data set does not have; the message lists those it has."""


def refuse_split(name: str, split: str, known: tuple[str, ...]) -> UnknownSplit:
    """Say that a data set has no such split, and which it has."""
    return UnknownSplit(f"{name} has no split {split!r}; it has {', '.join(known)}")
