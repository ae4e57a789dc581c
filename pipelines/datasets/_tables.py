"""Data sets that are tables of rows: on the hub, or as JSON Lines in a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iterative_grpo.types import Problem
from pipelines.datasets._carving import carve, question_key
from pipelines.datasets._content import checksum
from pipelines.datasets._jsonl import DataError, LineReader, Row, ToText, check_row
from pipelines.datasets._split import Rows, refuse_split

ProblemOfRow = Callable[[Row, str], Problem]
"""Makes a problem from a row and its id; raises ValueError for a row without a usable answer."""


@dataclass(frozen=True, slots=True)
class Official:
    """What the complete, unaltered split has: how many rows, and checksums, None where unknown.

    `Official()` knows nothing: a split of one's own, which is not compared with a published set.
    `sha256` is of its file's bytes, `content` of its questions and golds (`_content.checksum`; rows
    without an answer left out). A set without an order of its own has no one file.
    """

    rows: int | None = None
    sha256: str | None = None
    content: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Where a data set's rows are and what they hold.

    `official` has one entry a file that exists, by split; `hub` is None for a set that is not on
    the hub; `configurations` are the hub's, read one after the other. `fields` begins with the
    question's; `to_text` makes text of those that are neither text nor whole number. `unanswered`
    are the official rows that have no answer, by `question_key`: they are left out and named, any
    other such row is an error. `hub_splits` are our splits whose name on the hub is another.
    `unique` is the field that names a row, where there is one: no two rows may share it.
    """

    name: str
    fields: tuple[str, ...]
    official: Mapping[str, Official]
    hub: str | None = None
    configurations: tuple[str | None, ...] = (None,)
    unanswered: frozenset[str] = frozenset()
    hub_splits: Mapping[str, str] = field(default_factory=dict)
    unique: str | None = None
    to_text: Mapping[str, ToText] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that can be asked for; validation is carved out of train."""
        return tuple(
            split
            for split in ("train", "validation", "test")
            if ("train" if split == "validation" else split) in self.official
        )


def read_table(table: Table, split: str, path: Path | None, problem_of_row: ProblemOfRow) -> Rows:
    """Read one split from a folder, or from the hub when `path` is None.

    Raises:
        DataError: nothing at `path`, no answer from the hub, or a row that cannot be used.
        ValueError: a split that the set does not have.
    """
    if split not in table.splits:
        raise refuse_split(table.name, split, table.splits)
    stored = "train" if split == "validation" else split
    rows = _Rows(table, stored, problem_of_row)
    if path is None:
        fingerprint, source = _from_hub(rows, table, stored)
    else:
        fingerprint, source = _from_folder(rows, table, stored, path)
    if not rows.problems:
        wanted = ", ".join(table.fields)
        raise DataError(f"{source}: no rows; each line must be a JSON object with {wanted}")
    problems = rows.problems
    official = table.official[stored]
    note = _compare(official, rows, fingerprint, is_file=path is not None)
    if rows.repeated and (note or official.content is None):
        note = "; ".join(filter(None, [note, rows.repetition]))
    if stored == "train":
        train, validation = carve(problems)
        problems = validation if split == "validation" else train
    return Rows(
        problems=tuple(problems),
        fingerprint=fingerprint,
        source=source,
        note=note,
        rejected=tuple(rows.rejected),
        official=not note and (official.sha256 or official.content) is not None,
    )


def stored_rows(table: Table, split: str, path: Path | None) -> list[Row]:
    """Return the rows of a stored split as they are, nothing carved out.

    Raises DataError as `read_table` does.
    """
    if path is None:
        return list(_hub_rows(table, split))
    return [row for _, row in _reader(table, find_file(table, split, path))]


def find_file(table: Table, split: str, path: Path) -> Path:
    """Return the split's file: PATH/NAME/SPLIT.jsonl or PATH/SPLIT.jsonl."""
    candidates = [path / table.name / f"{split}.jsonl", path / f"{split}.jsonl"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = " nor ".join(map(str, candidates))
    if not path.exists():
        raise DataError(
            f"{table.name}: folder {path} does not exist; looked for "
            f"{' and '.join(map(str, candidates))}"
        )
    if not path.is_dir():
        raise DataError(f"{table.name}: {path} is a file; give the folder that holds {split}.jsonl")
    place = path / table.name if (path / table.name).is_dir() else path
    here = ", ".join(sorted(each.name for each in place.iterdir())[:12]) or "nothing"
    raise DataError(f"{table.name}: found neither {looked}; {place} holds {here}")


class _Rows:
    """Collects problems under their row numbers; keeps aside the rows known to have no answer."""

    def __init__(self, table: Table, split: str, problem_of_row: ProblemOfRow) -> None:
        self._table = table
        self._split = split
        self._problem_of_row = problem_of_row
        self.count = 0
        self.problems: list[Problem] = []
        self.rejected: list[str] = []
        self.repeated: list[str] = []
        self._first: dict[str, str] = {}
        self._names: dict[str, str] = {}

    @property
    def repetition(self) -> str:
        """Say how many rows ask what a row before them asks: they would count twice."""
        return f"{len(self.repeated)} rows ask the same as another ({self.repeated[0]})"

    def add(self, row: Row, where: str) -> None:
        identity = f"{self._table.name}/{self._split}/{self.count}"
        self.count += 1
        if self._table.unique is not None:
            name = row[self._table.unique]
            first = self._names.setdefault(name, where)
            if first != where:
                raise DataError(
                    f"{where}: {self._table.unique} {name!r} is that of {first} too; each row "
                    "needs its own. Is the file made of two?"
                )
        try:
            problem = self._problem_of_row(row, identity)
        except ValueError as error:
            if question_key(row[self._table.fields[0]]) not in self._table.unanswered:
                raise DataError(f"{where}: {error}") from error
            self.rejected.append(f"{identity}: {error} (so in the official set)")
            return
        except Exception as error:
            raise DataError(
                f"{where}: problem(row) of {self._table.name} raised {type(error).__name__}: "
                f"{error}; the row has the fields {', '.join(row)}"
            ) from error
        self.problems.append(problem)
        if (first := self._first.setdefault(problem.question, identity)) != identity:
            self.repeated.append(f"{identity} as {first}")


def _reader(table: Table, file: Path) -> LineReader:
    return LineReader(file, table.fields, table.to_text)


def _from_folder(rows: _Rows, table: Table, split: str, path: Path) -> tuple[str, str]:
    file = find_file(table, split, path)
    reader = _reader(table, file)
    try:
        for line, row in reader:
            rows.add(row, f"{file}, line {line}")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    return reader.sha256, str(file)


def _from_hub(rows: _Rows, table: Table, split: str) -> tuple[str, str]:
    digest = hashlib.sha256()
    source = f"{table.hub} on the hub, split {split}"
    for row in _hub_rows(table, split):
        digest.update(json.dumps(row).encode() + b"\n")
        rows.add(row, f"{source}, row {rows.count}")
    return digest.hexdigest(), source


def _hub_rows(table: Table, split: str) -> Iterator[Row]:
    if not table.hub:
        raise DataError(f"{table.name} is not on the hub; {_name_a_folder(table, split)}")
    import datasets

    for configuration in table.configurations:
        try:
            rows = datasets.load_dataset(
                table.hub, configuration, split=table.hub_splits.get(split, split)
            )
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"{table.name}: {table.hub} cannot be had from the hub ({first}). Without a "
                f"network, {_name_a_folder(table, split)}"
            ) from error
        for number, row in enumerate(rows):
            yield check_row(row, table.fields, f"{table.hub}, {split}, row {number}", table.to_text)


def _name_a_folder(table: Table, split: str) -> str:
    return (
        f"name a folder (data.path, or --data) that holds {table.name}/{split}.jsonl with the "
        f"fields {', '.join(table.fields)}"
    )


def _compare(official: Official, rows: _Rows, sha256: str, *, is_file: bool) -> str:
    """Say how rows differ from the official set, by their number, then by what they ask."""
    differs = "differs from the published set: "
    if official.rows is not None and rows.count != official.rows:
        return f"{differs}{official.rows:,} rows expected, {rows.count:,} found"
    if is_file and official.sha256 == sha256:
        return ""
    if official.content is not None:
        found = checksum(rows.problems)
        if found != official.content:
            return f"{differs}all {rows.count:,} rows, other questions or answers ({found[:12]})"
    elif is_file and official.sha256 is not None:
        return f"{differs}all {rows.count:,} rows, other bytes (sha256 {sha256[:12]})"
    return ""
