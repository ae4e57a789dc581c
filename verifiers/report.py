"""Verifying a file of responses: outcomes written beside the rows, and a summary of them.

Input is JSON Lines with the fields ``response`` and ``answer`` (others are kept); output has the
same rows in the same order with ``outcome``, ``extracted`` and ``reason`` added. The file is read
and written in pieces, so its size is bounded by the disk alone, and it gets its name only when it
is complete.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from verifiers.batch import RowGoldError, require, verify_many
from verifiers.policy import STRICT, Policy
from verifiers.verdict import Outcome, Verdict

PIECE_ROWS: Final = 20_000
_FIELDS: Final = ("response", "answer")
_ADDED: Final = ("outcome", "extracted", "reason")


class VerifyFileError(ValueError):
    """A file that cannot be verified; the message names it, and the line that is at fault."""


@dataclass(frozen=True, slots=True)
class Summary:
    """How many rows had each outcome, and how long it took."""

    counts: dict[Outcome, int]
    seconds: float

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(self.counts.values())

    def table(self) -> str:
        """The summary for a terminal: one line an outcome, with its share."""
        lines = [f"{'outcome':<12}{'rows':>9}{'share':>9}"]
        for outcome in Outcome:
            count = self.counts.get(outcome, 0)
            share = 100 * count / self.rows if self.rows else 0.0
            lines.append(f"{outcome.value:<12}{count:>9,}{share:>8.1f}%")
        lines.append(f"{'all':<12}{self.rows:>9,}   in {self.seconds:.1f} s")
        return "\n".join(lines)


def verify_file(
    path: str | Path,
    output: str | Path,
    *,
    convention: str = "math",
    policy: Policy = STRICT,
    timeout: float = 0.8,
    workers: int | None = None,
    overwrite: bool = False,
) -> Summary:
    """Verify every row of a file.

    Args:
        path: JSON Lines with the fields ``response`` and ``answer``.
        output: where the rows go with their outcomes; nothing is written there until all are done.
        convention: how the responses state their answers, a file of `verifiers/conventions`.
        policy: which differences from the gold are forgiven.
        timeout: seconds that the symbolic stage may take for one row.
        workers: how many worker processes are used at a time; all cores by default.
        overwrite: whether an existing output may be replaced.

    Raises:
        VerifyFileError: the file is not there, a line of it is broken, a gold cannot be read, or
            the output exists and ``overwrite`` was not asked for.
        UnknownConvention, UnfitOption: as ``verify_many`` raises them, before a row is read.
    """
    require(convention, timeout, workers)
    source, target = Path(path), Path(output)
    if not source.is_file():
        found = "a folder; give a file of JSON Lines" if source.is_dir() else "no such file"
        raise VerifyFileError(f"{source}: {found}")
    if not target.parent.is_dir():
        raise VerifyFileError(f"{target}: there is no folder {target.parent}; make it first")
    if target.exists() and not overwrite:
        raise VerifyFileError(
            f"{target} exists and is not overwritten; give another name, or ask to replace it "
            "(overwrite, on the command line --overwrite)"
        )
    if target.exists() and target.samefile(source):
        raise VerifyFileError(f"{target} is the input; give another name for the output")
    if target.exists() and not target.is_file():
        raise VerifyFileError(f"{target} is no file that could be replaced; give another name")
    partial = target.with_name(target.name + ".partial")
    counts: Counter[Outcome] = Counter()
    start = perf_counter()
    try:
        with partial.open("w", encoding="utf-8") as stream:
            rows = _rows(source)
            while piece := list(islice(rows, PIECE_ROWS)):
                verdicts = _verify(source, piece, convention, policy, timeout, workers)
                for (_, row), verdict in zip(piece, verdicts, strict=True):
                    counts[verdict.outcome] += 1
                    added = (verdict.outcome.value, verdict.extracted, verdict.reason)
                    row.update(zip(_ADDED, added, strict=True))
                    stream.write(json.dumps(row) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return Summary(dict(counts), perf_counter() - start)


def _verify(
    source: Path,
    piece: list[tuple[int, dict[str, Any]]],
    convention: str,
    policy: Policy,
    timeout: float,
    workers: int | None,
) -> list[Verdict]:
    pairs = [(row["response"], row["answer"]) for _, row in piece]
    try:
        return verify_many(
            pairs, convention=convention, policy=policy, timeout=timeout, workers=workers
        )
    except RowGoldError as error:
        raise VerifyFileError(f"{source}, line {piece[error.row][0]}: {error}") from error


def _rows(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers, from 1, and rows; empty lines are passed over."""
    with source.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, _row(f"{source}, line {number}", line)


def _row(place: str, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise VerifyFileError(f"{place}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise VerifyFileError(f"{place}: an object was expected, not {type(row).__name__}")
    for field in _FIELDS:
        if field not in row:
            known = ", ".join(map(repr, row)) or "none"
            raise VerifyFileError(f"{place}: no field {field!r}; fields there: {known}")
    if isinstance(row["answer"], int | float) and not isinstance(row["answer"], bool):
        row["answer"] = str(row["answer"])
    for field in _FIELDS:
        if not isinstance(row[field], str):
            kind = type(row[field]).__name__
            raise VerifyFileError(f"{place}: {field!r} is {kind}; a text was expected")
    return row
