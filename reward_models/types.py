"""`LabeledSolution`: what a reward model learns from, and the JSON Lines files that keep it."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterative_grpo.types import check_ends

VERSION = 1
"""Version of a row's format. A reader refuses newer ones: it cannot know what it would lose."""


class BrokenLabels(ValueError):
    """A labels file that cannot be read; the message names file and line."""


@dataclass(frozen=True, slots=True)
class LabeledSolution:
    """A solution cut at `ends`, with one label in [0, 1] an end.

    `question` is the text that the reward model reads, so that a file trains without other files.
    `counts[k]` is (successes, trials) behind `labels[k]`; a verdict is (1, 1) or (0, 1).
    `completer` is the fingerprint of the policy whose continuations made the labels, "" if none.
    `correct` is the verifier's verdict of the whole text, whatever the last label is; `finished`
    says whether the policy stopped by itself.
    """

    problem_id: str
    question: str
    text: str
    ends: tuple[int, ...]
    labels: tuple[float, ...]
    counts: tuple[tuple[int, int], ...]
    iteration: int
    labeler: str
    completer: str
    correct: bool
    finished: bool

    def __post_init__(self) -> None:
        where = self.problem_id
        try:
            check_ends(self.ends)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if self.ends[-1] > len(self.text):
            raise ValueError(
                f"{where}: an end at {self.ends[-1]} lies beyond the text of {len(self.text)} "
                "characters; ends are character offsets into the text"
            )
        if len(self.labels) != len(self.ends) or len(self.counts) != len(self.ends):
            raise ValueError(
                f"{where}: {len(self.ends)} ends, {len(self.labels)} labels and "
                f"{len(self.counts)} counts; each end needs one label and one count"
            )
        for label in self.labels:
            check_label(label, where)
        for count in self.counts:
            if len(count) != 2 or not 0 <= count[0] <= count[1]:
                raise ValueError(
                    f"{where}: {count!r} is not a count; expected (successes, trials) with "
                    "0 <= successes <= trials"
                )
        if self.iteration < 0:
            raise ValueError(f"{where}: iteration is {self.iteration}, must be 0 or more")

    @property
    def right(self) -> bool:
        """Whether rewards should take it for right: by its verdict, and ended by the policy."""
        return self.correct and self.finished

    @property
    def positive(self) -> bool:
        """Whether the label of the last end is at least one half."""
        return self.labels[-1] >= 0.5

    @property
    def digest(self) -> bytes:
        """Sixteen bytes that name question and text; duplicates share them, labels apart."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.question, self.text):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
        return digest.digest()


def as_rewarded(values: Sequence[float], *, finished: bool) -> tuple[float, ...]:
    """Return scores at ends as they reward: the end that the token limit cut off gets 0.

    The policy did not finish it, and a model that never saw fragments might like them.
    """
    return tuple(values) if finished else (*values[:-1], 0.0)


@dataclass(frozen=True, slots=True)
class LabelCost:
    """What the labels of `labels` ends before the last cost; the last end's is the verdict.

    `prefixes` are the distinct texts up to those ends, `rollouts` and `tokens` what was sampled to
    continue them; `reused` counts trials that other rollouts gave for nothing.
    """

    labels: int = 0
    prefixes: int = 0
    rollouts: int = 0
    tokens: int = 0
    reused: int = 0

    @property
    def tokens_per_label(self) -> float:
        """Tokens sampled for each label, 0 without labels."""
        return self.tokens / self.labels if self.labels else 0.0

    def __add__(self, other: LabelCost) -> LabelCost:
        return LabelCost(
            self.labels + other.labels,
            self.prefixes + other.prefixes,
            self.rollouts + other.rollouts,
            self.tokens + other.tokens,
            self.reused + other.reused,
        )


def check_label(label: object, where: str) -> None:
    """Refuse labels that other programs' marks would turn into truth.

    True is a bool that a cast made, and -100 an ignored position: both would train silently.
    """
    if isinstance(label, bool) or not isinstance(label, (int, float)):
        raise ValueError(
            f"{where}: label {label!r} is a {type(label).__name__}, expected a float in [0, 1]"
        )
    if not math.isfinite(label) or not 0 <= label <= 1:
        raise ValueError(f"{where}: label {label!r} is outside [0, 1]")


def to_json(row: LabeledSolution) -> str:
    """Return the row as one line of JSON, pure ASCII, without the line's end."""
    return json.dumps(
        {
            "version": VERSION,
            "problem_id": row.problem_id,
            "question": row.question,
            "text": row.text,
            "ends": row.ends,
            "labels": row.labels,
            "counts": row.counts,
            "iteration": row.iteration,
            "labeler": row.labeler,
            "completer": row.completer,
            "correct": row.correct,
            "finished": row.finished,
        }
    )


def write_solutions(path: Path, rows: Iterable[LabeledSolution]) -> int:
    """Write rows as JSON Lines, synced to disk; return how many."""
    written = 0
    with path.open("w", encoding="ascii", newline="\n") as file:
        for row in rows:
            file.write(to_json(row) + "\n")
            written += 1
        file.flush()
        os.fsync(file.fileno())
    return written


def read_solutions(path: Path) -> Iterator[LabeledSolution]:
    """Yield the rows of a file one by one; memory does not grow with the file."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield parse(line, f"{path}:{number}")


_KINDS: dict[str, tuple[type, ...]] = {
    "problem_id": (str,),
    "question": (str,),
    "text": (str,),
    "ends": (list,),
    "labels": (list,),
    "counts": (list,),
    "iteration": (int,),
    "labeler": (str,),
    "completer": (str,),
    "correct": (bool,),
    "finished": (bool,),
}


def parse(line: bytes, where: str) -> LabeledSolution:
    """Return the row of one line; `where` is what an error names (file:line)."""
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BrokenLabels(
            f"{where}: not a line of JSON ({error}); the file was cut or edited"
        ) from error
    if not isinstance(found, dict):
        raise BrokenLabels(f"{where}: expected an object, found {type(found).__name__}")
    version = found.get("version")
    if not isinstance(version, int) or isinstance(version, bool):
        raise BrokenLabels(f"{where}: field 'version' is missing; not a file of labeled solutions")
    if version > VERSION:
        raise BrokenLabels(
            f"{where}: written in format {version}, this program reads up to {VERSION}; "
            "use the version that wrote it, or a newer one"
        )
    missing = [name for name in _KINDS if name not in found]
    if missing:
        raise BrokenLabels(f"{where}: missing {', '.join(missing)}")
    for name, kinds in _KINDS.items():
        value = found[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise BrokenLabels(
                f"{where}: {name} is a {type(value).__name__}, expected {kinds[0].__name__}"
            )
    if not all(isinstance(end, int) and not isinstance(end, bool) for end in found["ends"]):
        raise BrokenLabels(f"{where}: ends must be integers, found {found['ends']!r}")
    if not all(_is_count(count) for count in found["counts"]):
        raise BrokenLabels(f"{where}: counts must be pairs of integers, found {found['counts']!r}")
    try:
        return LabeledSolution(
            problem_id=found["problem_id"],
            question=found["question"],
            text=found["text"],
            ends=tuple(found["ends"]),
            labels=tuple(found["labels"]),
            counts=tuple((count[0], count[1]) for count in found["counts"]),
            iteration=found["iteration"],
            labeler=found["labeler"],
            completer=found["completer"],
            correct=found["correct"],
            finished=found["finished"],
        )
    except ValueError as error:
        raise BrokenLabels(f"{where}: {error}") from error


def _is_count(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, int) and not isinstance(part, bool) for part in value)
    )
