"""Artifacts: whole or absent, and refused when made differently."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import artifacts
from pipelines.artifacts import ArtifactError


def make(place: Path, text: str = "content", log: str = "1 s") -> artifacts.Artifact:
    folder = artifacts.start(place)
    (folder / "file.txt").write_text(text, encoding="utf-8")
    (folder / artifacts.LOG).mkdir()
    (folder / artifacts.LOG / "seconds").write_text(log, encoding="utf-8")
    return artifacts.finish(place, "phase", {"a": {"b": 1}}, {"in": "f00"}, dict)


def test_the_fingerprint_is_of_content_and_not_of_time(tmp_path: Path) -> None:
    first, again = make(tmp_path / "1"), make(tmp_path / "2", log="2 s")
    assert first.fingerprint == again.fingerprint
    assert make(tmp_path / "3", text="other").fingerprint != first.fingerprint


def test_the_fingerprint_is_of_keys_in_any_order() -> None:
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert artifacts.fingerprint_of(one) == artifacts.fingerprint_of(other)


def test_what_is_not_as_it_was_written_is_listed(tmp_path: Path) -> None:
    place = make(tmp_path / "phase").path
    assert artifacts.changed(place) == []
    (place / "log" / "seconds").write_text("", encoding="utf-8")
    assert artifacts.changed(place) == ["log/seconds"]
    (place / "file.txt").unlink()
    assert artifacts.changed(place) == ["file.txt", "log/seconds"]


def test_an_unfinished_artifact_is_no_artifact_and_is_started_anew(tmp_path: Path) -> None:
    place = tmp_path / "phase"
    (artifacts.start(place) / "half.txt").write_text("ha", encoding="utf-8")
    assert artifacts.existing(place, "phase", {}, {}) is None
    assert list(artifacts.start(place).iterdir()) == []


def test_an_unfinished_artifact_can_be_gone_on_with(tmp_path: Path) -> None:
    place = tmp_path / "phase"
    (artifacts.start(place) / "stray.txt").write_text("?", encoding="utf-8")
    folder = artifacts.resume(place, "P", {"a": 1}, {"in": "f00"})
    assert not (folder / "stray.txt").exists()
    (folder / "half.txt").write_text("ha", encoding="utf-8")
    again = artifacts.resume(place, "P", {"a": 1}, {"in": "f00"})
    assert (again / "half.txt").read_text(encoding="utf-8") == "ha"
    with pytest.raises(ArtifactError, match=r"the unfinished phase P .*a was 1 and is now 2"):
        artifacts.resume(place, "P", {"a": 2}, {"in": "f00"})
    with pytest.raises(ArtifactError, match=r"its input in has changed.*to begin it again"):
        artifacts.resume(place, "P", {"a": 1}, {"in": "bad"})
    (again / artifacts.WORK).mkdir()
    (again / artifacts.WORK / "journal").write_text("rows", encoding="utf-8")
    made = artifacts.finish(place, "P", {"a": 1}, {"in": "f00"}, dict)
    assert sorted(p.name for p in place.iterdir()) == ["half.txt", artifacts.MANIFEST]
    assert artifacts.existing(place, "P", {"a": 1}, {"in": "f00"}) == made


def test_the_same_settings_find_it(tmp_path: Path) -> None:
    made = make(tmp_path / "phase")
    found = artifacts.existing(tmp_path / "phase", "phase", {"a": {"b": 1}}, {"in": "f00"})
    assert found == made


def test_lists_are_stored_as_lists_whatever_they_were(tmp_path: Path) -> None:
    settings = {"tasks": ("gsm8k", "math")}
    artifacts.start(tmp_path / "phase")
    made = artifacts.finish(tmp_path / "phase", "P", settings, {}, dict)
    assert artifacts.existing(tmp_path / "phase", "P", settings, {}) == made


def test_a_changed_log_is_no_other_result(tmp_path: Path) -> None:
    made = make(tmp_path / "phase")
    (made.path / artifacts.LOG / "seconds").write_text("", encoding="utf-8")
    assert artifacts.existing(made.path, "phase", {"a": {"b": 1}}, {"in": "f00"}) == made


@pytest.mark.parametrize(
    ("settings", "inputs", "message"),
    [
        ({"a": {"b": 2}}, {"in": "f00"}, r"the finished phase P .*a\.b was 1 and is now 2"),
        ({"a": {"b": 1}, "c": 3}, {"in": "f00"}, "c was null and is now 3"),
        ({"a": {"b": 1}}, {"in": "bad"}, "its input in has changed"),
        ({"a": {"b": 1}}, {}, "its input in has changed"),
        ({"a": {"b": 1}}, {"in": "f00", "more": "f11"}, "its input more has changed"),
    ],
)
def test_other_settings_are_refused_with_what_differs(
    settings: dict[str, object], inputs: dict[str, str], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "phase")
    with pytest.raises(ArtifactError, match=message):
        artifacts.existing(tmp_path / "phase", "P", settings, inputs)


def test_damage_is_seen(tmp_path: Path) -> None:
    place = tmp_path / "phase"
    make(place)
    for text in ("cont", "content and more"):
        (place / "file.txt").write_text(text, encoding="utf-8")
        with pytest.raises(ArtifactError, match=r"damaged: file\.txt"):
            artifacts.existing(place, "phase", {"a": {"b": 1}}, {"in": "f00"})
    (place / "file.txt").write_text("content", encoding="utf-8")
    changed = (place / artifacts.MANIFEST).read_text(encoding="utf-8").replace("f00", "f11")
    (place / artifacts.MANIFEST).write_text(changed, encoding="utf-8")
    with pytest.raises(ArtifactError, match="its manifest was changed"):
        artifacts.existing(place, "phase", {"a": {"b": 1}}, {"in": "f11"})
    (place / artifacts.MANIFEST).write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        artifacts.existing(place, "phase", {"a": {"b": 1}}, {"in": "f00"})


def test_an_interrupted_write_of_json_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    artifacts.write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        artifacts.write_json(file, {"a": object()})
    assert file.read_text(encoding="utf-8") == '{\n  "a": 1\n}\n'


def test_an_interrupted_write_of_bytes_leaves_the_old_file(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    file = tmp_path / "x.jsonl"
    artifacts.write_bytes(file, [b"old"])
    with pytest.raises(KeyboardInterrupt):
        artifacts.write_bytes(file, pieces())
    assert file.read_bytes() == b"old"


def test_a_folder_is_copied_where_links_are_not_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError("links are not supported here")

    (tmp_path / "old" / "inner").mkdir(parents=True)
    (tmp_path / "old" / "inner" / "weights").write_text("1", encoding="utf-8")
    monkeypatch.setattr(os, "link", refused)
    artifacts.link_or_copy(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new" / "inner" / "weights").read_text(encoding="utf-8") == "1"


def test_a_path_that_is_no_text_is_written_and_read(tmp_path: Path) -> None:
    artifacts.write_json(tmp_path / "x.json", {"run": "r\udcfc", "é": 1})
    assert artifacts.read_json(tmp_path / "x.json", "it") == {"run": "r\udcfc", "é": 1}


def test_an_artifact_that_lacks_only_its_name_gets_it(tmp_path: Path) -> None:
    whole, cut_off = tmp_path / "whole", tmp_path / "cut_off"
    expected = make(whole)
    make(cut_off).path.rename(artifacts.partial(cut_off))
    (artifacts.partial(cut_off) / artifacts.WORK).mkdir()
    found = artifacts.existing(cut_off, "phase", {"a": {"b": 1}}, {"in": "f00"})
    assert found == artifacts.Artifact(cut_off, expected.fingerprint)
    assert not artifacts.partial(cut_off).exists()
    assert not (cut_off / artifacts.WORK).exists()


def test_what_a_phase_goes_on_from_stays_until_the_manifest_is_there(tmp_path: Path) -> None:
    place = tmp_path / "phase"
    output = artifacts.resume(place, "phase", {}, {})
    (output / artifacts.WORK).mkdir()
    (output / artifacts.WORK / "journal").write_text("rows", encoding="utf-8")
    (output / "file.txt").write_text("content", encoding="utf-8")

    def killed() -> dict[str, object]:
        raise KeyboardInterrupt  # asked for its facts, every file is sealed

    with pytest.raises(KeyboardInterrupt):
        artifacts.finish(place, "phase", {}, {}, killed)
    assert artifacts.resume(place, "phase", {}, {}) == output
    assert (output / artifacts.WORK / "journal").read_text(encoding="utf-8") == "rows"
    (output / f"{artifacts.MANIFEST}.new").write_text("{", encoding="utf-8")
    artifacts.finish(place, "phase", {}, {}, dict)
    assert sorted(it.name for it in place.iterdir()) == ["file.txt", "manifest.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"settings": 3}'])
def test_a_damaged_record_of_an_unfinished_phase_is_named(tmp_path: Path, content: str) -> None:
    output = artifacts.resume(tmp_path / "phase", "phase", {}, {})
    (output / artifacts.BEGUN).write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match="begun"):
        artifacts.resume(tmp_path / "phase", "phase", {}, {})


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": null}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str) -> None:
    make(tmp_path / "phase")
    (tmp_path / "phase" / artifacts.MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged"):
        artifacts.existing(tmp_path / "phase", "phase", {"a": {"b": 1}}, {"in": "f00"})
