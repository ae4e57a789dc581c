"""Lines of a run's files: objects with their places, and a broken one named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import json_lines
from pipelines.artifacts import ArtifactError


def test_objects_come_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    # Marks that end a line for some readers of text stand within it here.
    rows = [{"text": "a\u2028b\x85c"}, {"text": "\ud800"}]
    lines = [json.dumps(rows[0], ensure_ascii=False), json.dumps(rows[1])]
    file.write_text("\n".join(lines), encoding="utf-8", newline="\n")
    found = list(json_lines.objects(file, ArtifactError, "Do this"))
    assert found == [(f"{file}, line 1", rows[0]), (f"{file}, line 2", rows[1])]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"cut": ', "not JSON (Expecting value"),
        (b'{"text": "\xff"}', "not JSON ('utf-8' codec"),
        (b"", "not JSON (Expecting value"),
        (b"[" * 100_000, "not JSON (maximum recursion"),
        (b"7", "a JSON int where an object is expected"),
        (b"null", "a JSON NoneType where an object is expected"),
    ],
)
def test_a_broken_line_is_named_with_what_to_do(tmp_path: Path, line: bytes, found: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"whole": 1}\n' + line + b"\n")
    rows = json_lines.objects(file, ArtifactError, "Do this")
    assert next(rows)[1] == {"whole": 1}
    with pytest.raises(ArtifactError) as raised:
        next(rows)
    assert str(raised.value).startswith(f"{file}, line 2: {found}")
    assert str(raised.value).endswith(". Do this")
