"""The record of decontamination as the page reads it, broken ones too."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.report import contamination


@pytest.mark.parametrize("content", [None, "", "[]", "{", "\xff"])
def test_what_is_no_record_is_none(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / contamination.FILE).write_text(content, encoding="latin-1")
    assert contamination.read(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "off"),
    [
        ('{"settings": null}', True),
        ('{"settings": 1, "pairs": 3, "compared": [3], "left_out": {}}', False),
        ('{"settings": {}, "pairs": [{"action": "drop"}], "compared": [{"found": 7}]}', False),
    ],
)
def test_odd_records_are_read_as_far_as_they_go(content: str, off: bool, tmp_path: Path) -> None:
    (tmp_path / contamination.FILE).write_text(content, encoding="utf-8")
    found = contamination.read(tmp_path)
    assert found is not None
    assert (found.off, found.left_out) == (off, 0)
