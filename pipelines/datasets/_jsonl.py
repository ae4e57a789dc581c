"""Read JSON Lines row by row. Every error names the file and the line."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

Row = Mapping[str, str]
"""The fields of one row that its data set asks for, as text."""

ToText = Callable[[Any], str]
"""Makes text of a field that holds something else, such as a list or a fraction."""

AS_IT_IS: Mapping[str, ToText] = MappingProxyType({})


class DataError(ValueError):
    """Data that cannot be read or used; the message names the place and what to do."""


class LineReader:
    """Iterates over a file's rows as (line number from 1, row), hashing every byte on the way.

    Lines of white space alone are skipped. `sha256` is the file's checksum once all was read.

    Raises while iterating:
        DataError: a line that is not UTF-8, not a JSON object, lacks one of `fields`, or has a
            field that is empty or, after `to_text`, neither text nor whole number.
        OSError: the file cannot be read.
    """

    def __init__(
        self, path: Path, fields: Sequence[str], to_text: Mapping[str, ToText] = AS_IT_IS
    ) -> None:
        self._path = path
        self._fields = tuple(fields)
        self._to_text = to_text
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                self._digest.update(line)
                if line.strip():
                    yield number, self._row(number, line)

    @property
    def sha256(self) -> str:
        """The checksum of what was read so far."""
        return self._digest.hexdigest()

    def _row(self, number: int, line: bytes) -> Row:
        where = f"{self._path}, line {number}"
        if line.startswith(codecs.BOM_UTF8):
            raise DataError(f"{where}: a byte order mark; save the file as UTF-8 without one")
        try:
            value = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8 ({error.reason} at byte {error.start})") from None
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}: not JSON ({error.msg} at column {error.colno}); "
                "each line must be one JSON object"
            ) from None
        except RecursionError:
            raise DataError(f"{where}: not a flat JSON object but a very deep one") from None
        if not isinstance(value, dict):
            raise DataError(f"{where}: a JSON {type(value).__name__} where an object is needed")
        return check_row(value, self._fields, where, self._to_text)


def check_row(
    value: Mapping[str, object],
    fields: Sequence[str],
    where: str,
    to_text: Mapping[str, ToText] = AS_IT_IS,
) -> Row:
    """Return the wanted fields as text, or say which is missing, empty or of another kind."""
    row: dict[str, str] = {}
    for field in fields:
        if field not in value:
            found = ", ".join(sorted(map(str, value))) or "none"
            raise DataError(f"{where}: no field {field!r}; found {found}")
        content = value[field]
        if field in to_text and content is not None:
            try:
                content = to_text[field](content)
            except Exception as error:
                raise DataError(
                    f"{where}: no text can be made of field {field!r}: {type(error).__name__}: "
                    f"{error}"
                ) from error
        if isinstance(content, bool) or not isinstance(content, str | int):
            kind = type(content).__name__
            raise DataError(f"{where}: field {field!r} is a {kind}, must be text")
        text = str(content)
        if not text.strip():
            raise DataError(f"{where}: field {field!r} is empty")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"{where}: field {field!r} has half a surrogate pair, must be Unicode")
        row[field] = text
    return row
