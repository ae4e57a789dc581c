"""Labels files with an index, so that a few rows can be drawn without reading the rest.

The index lies beside the labels (`labels.jsonl.index`): one line of JSON, then fixed-width binary
records (offset, length, digest) in strata: negative rows first, then positive ones. To draw R rows
of a history of any length, one header an iteration and R records are read.
"""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reward_models.types import BrokenLabels, LabeledSolution, parse, to_json

VERSION = 1
_RECORD = struct.Struct("<QQ16s")


class BrokenHistory(BrokenLabels):
    """An earlier iteration's labels that are missing, cut, edited, or of a newer version."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """The distinct rows of a file with one label: rows `first` ... `first + rows - 1`."""

    first: int
    rows: int


def index_path(labels: Path) -> Path:
    """Return where the index of a labels file lies."""
    return labels.with_name(labels.name + ".index")


def write_labels(path: Path, rows: Iterable[LabeledSolution]) -> int:
    """Write a labels file and its index, both synced; return the number of rows.

    Duplicates (by question and text) are kept in the file and left out of the index: the first one
    counts.
    """
    strata: dict[bool, list[bytes]] = {False: [], True: []}
    seen: set[bytes] = set()
    iterations: set[int] = set()
    written = offset = 0
    with path.open("wb") as file:
        for row in rows:
            line = to_json(row).encode("ascii") + b"\n"
            file.write(line)
            written += 1
            iterations.add(row.iteration)
            digest = row.digest
            if digest not in seen:
                seen.add(digest)
                strata[row.positive].append(_RECORD.pack(offset, len(line), digest))
            offset += len(line)
        file.flush()
        os.fsync(file.fileno())
    if len(iterations) > 1:
        raise ValueError(
            f"{path}: rows of iterations {sorted(iterations)} in one labels file; write one a file"
        )
    header = {
        "version": VERSION,
        "bytes": offset,
        "rows": written,
        "iteration": iterations.pop() if iterations else 0,
        "negative": len(strata[False]),
        "positive": len(strata[True]),
    }
    with index_path(path).open("wb") as index:
        index.write(json.dumps(header).encode("ascii") + b"\n")
        for positive in (False, True):
            index.writelines(strata[positive])
        index.flush()
        os.fsync(index.fileno())
    return written


class History:
    """One earlier iteration's labels, opened for drawing; use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._labels: BinaryIO | None = None
        self._index: BinaryIO = io.BytesIO()
        where = index_path(path)
        if not path.is_file() or not where.is_file():
            missing = where if path.is_file() else path
            raise BrokenHistory(
                f"{missing}: not found; replay draws from the labels of earlier iterations and "
                "their index: restore the file, or run with replay 'none'"
            )
        self._index = where.open("rb")
        try:
            header = self._read_header(where)
        except BaseException:
            self._index.close()
            raise
        self.iteration: int = header["iteration"]
        self.rows: int = header["rows"]
        self.strata = (
            Stratum(0, header["negative"]),
            Stratum(header["negative"], header["positive"]),
        )

    def _read_header(self, where: Path) -> dict[str, int]:
        try:
            header = json.loads(self._index.readline(4096))
            version = header["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenHistory(f"{where}:1: not an index of labeled solutions") from error
        if version > VERSION:
            raise BrokenHistory(
                f"{where}: written in format {version}, this program reads up to {VERSION}; "
                "use the version that wrote it, or a newer one"
            )
        self._start = self._index.tell()
        missing = {"bytes", "rows", "iteration", "negative", "positive"} - set(header)
        if missing:
            raise BrokenHistory(f"{where}:1: missing {', '.join(sorted(missing))}")
        size = self.path.stat().st_size
        if size != header["bytes"]:
            raise BrokenHistory(
                f"{self.path}: {size} bytes, its index says {header['bytes']}; the file was cut or "
                "edited after it was written: restore it, or run with replay 'none'"
            )
        expected = self._start + (header["negative"] + header["positive"]) * _RECORD.size
        if where.stat().st_size != expected:
            raise BrokenHistory(
                f"{where}: {where.stat().st_size} bytes, expected {expected}; the index was cut: "
                "restore it, or run with replay 'none'"
            )
        return dict(header)

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()
        if self._labels:
            self._labels.close()

    def digest(self, row: int) -> bytes:
        """Return the digest of an indexed row without reading the row."""
        return self._record(row)[2]

    def read(self, row: int) -> LabeledSolution:
        """Return one indexed row."""
        offset, length, digest = self._record(row)
        if self._labels is None:
            self._labels = self.path.open("rb")
        self._labels.seek(offset)
        solution = parse(self._labels.read(length), f"{self.path}: byte {offset}")
        if solution.digest != digest:
            raise BrokenHistory(
                f"{self.path}: byte {offset}: question and text are not those that were indexed; "
                "the file was edited after it was written: restore it"
            )
        return solution

    def _record(self, row: int) -> tuple[int, int, bytes]:
        self._index.seek(self._start + row * _RECORD.size)
        offset, length, digest = _RECORD.unpack(self._index.read(_RECORD.size))
        return offset, length, digest


def permuted(rows: int, draw: Iterator[float]) -> Iterator[int]:
    """Yield 0 ... rows - 1 in random order, in memory that grows with what was yielded only.

    Fisher-Yates with the moved entries kept in a dictionary; `draw` yields numbers in [0, 1).
    """
    moved: dict[int, int] = {}
    for position in range(rows):
        other = position + int(next(draw) * (rows - position))
        chosen = moved.get(other, other)
        moved[other] = moved.pop(position, position)
        yield chosen
