"""Which questions a reward model learns from, is tuned on, and is measured on.

A question belongs to one part for the whole run, by a hash of its text and the run's seed: what is
held out in one iteration cannot come back as training data in another, be it fresh or replayed,
and a question that a data set has twice is held out twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from reward_models.questions import question_digest
from reward_models.types import LabeledSolution


class Part(Enum):
    """The value is the stem of the part's file."""

    LABELS = "labels"
    """Learned from, now and in later iterations' replay."""
    VALIDATION = "validation"
    """Tuned on: early stopping and calibration."""
    HELD_OUT = "heldout"
    """Measured on, and nothing else."""


class EmptyPart(ValueError):
    """A part that the settings ask for and that got no question."""


class HeldOutQuestion(ValueError):
    """A training row asks a question that the run keeps for tuning or measuring."""


@dataclass(frozen=True, slots=True)
class Division:
    """Shares of the questions, both in [0, 1), and the run's seed; the rest is learned from."""

    held_out: float
    validation: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("held_out", "validation"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be a share in [0, 1)")
        if self.held_out + self.validation >= 1:
            raise ValueError(
                f"held_out {self.held_out} and validation {self.validation} leave no question to "
                "learn from; their sum must be below 1"
            )

    def part(self, question: str) -> Part:
        """Return the part of a question; it depends on nothing else."""
        place = unit_hash(question_digest(question).hex(), f"division {self.seed}")
        if place < self.held_out:
            return Part.HELD_OUT
        # From the other side, so that a larger validation share holds out the same questions.
        return Part.VALIDATION if place >= 1 - self.validation else Part.LABELS

    def divide(self, rows: Iterable[LabeledSolution]) -> dict[Part, list[LabeledSolution]]:
        """Return the rows of each part in their order."""
        parts: dict[Part, list[LabeledSolution]] = {part: [] for part in Part}
        for row in rows:
            parts[self.part(row.question)].append(row)
        return parts

    def checked(self, rows: Iterable[LabeledSolution]) -> Iterator[LabeledSolution]:
        """Yield training rows; HeldOutQuestion at the first that is not to be learned from."""
        for row in rows:
            part = self.part(row.question)
            if part is not Part.LABELS:
                raise HeldOutQuestion(
                    f"{row.problem_id} (iteration {row.iteration}) belongs to {part.value}, and "
                    "stands among the rows to train on; its file was edited, or was made with "
                    f"another seed or other shares: {row.question[:80]!r}"
                )
            yield row

    def require(self, questions: Iterable[str], parts: Collection[Part]) -> None:
        """Refuse questions that leave one of `parts` empty; to be asked before sampling.

        Raises EmptyPart.
        """
        found = [self.part(question) for question in questions]
        for part in parts:
            if part not in found:
                raise EmptyPart(
                    f"none of {len(found)} questions falls to {part.value} (held_out "
                    f"{self.held_out}, validation {self.validation}, seed {self.seed}); sample "
                    "more questions, or raise the share"
                )


def unit_hash(name: str, salt: str) -> float:
    """Return a number in [0, 1) that depends on `name` and `salt` alone."""
    data = f"{salt}\n{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=7).digest(), "big") / 2**56
