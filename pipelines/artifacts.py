"""Artifacts: what a phase makes, written whole or not at all, and known by its content.

A phase writes into `NAME.partial/`; when it is done, every file is flushed to disk and hashed, a
manifest is written, and the folder gets its name in one step. A name without `.partial` therefore
always holds a finished artifact, however the process that made it ended. What a phase goes on from
when it was cut off stays until the manifest is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"

BEGUN = "begun.json"
"""Settings and inputs of a phase that can go on in its partial folder, while it is unfinished."""

WORK = "work"
"""Folder of an unfinished artifact for what only a phase that goes on needs."""

IDENTITY = ("phase", "settings", "inputs", "files")
"""What of a manifest its fingerprint is made of."""

LOG = "log"
"""Folder of an artifact for what differs between equal runs (seconds): kept, not fingerprinted."""


class ArtifactError(RuntimeError):
    """An artifact that is missing, damaged, or not the one that the settings would make."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A finished artifact: where it lies, and the fingerprint of its content."""

    path: Path
    fingerprint: str


def partial(path: Path) -> Path:
    """Return where an artifact is written before it is finished."""
    return path.with_name(f"{path.name}.partial")


def finish(
    path: Path,
    phase: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    facts: Callable[[], Mapping[str, Any]],
) -> Artifact:
    """Seal `path`'s partial folder and give it its name.

    Args:
        path: the artifact's final name.
        phase: the phase that made it.
        settings: the settings that the phase depends on.
        inputs: fingerprints of what it was made from, by name.
        facts: returns what else is worth knowing (seconds, versions), asked when all files are
            sealed; not part of the fingerprint.
    """
    unfinished = partial(path)
    _fresh(unfinished / MANIFEST).unlink(missing_ok=True)  # of a process that ended right here
    files, log = {}, {}
    for file in sorted(p for p in unfinished.rglob("*") if p.is_file()):
        name = file.relative_to(unfinished)
        if name.parts[0] in (WORK, BEGUN):
            continue
        flush(file)
        if name.parts[0] == LOG:
            log[name.as_posix()] = file.stat().st_size
            continue
        files[name.as_posix()] = {
            "bytes": file.stat().st_size,
            "sha256": sha256(file),
        }
    identity = {"phase": phase, "settings": settings, "inputs": inputs, "files": files}
    fingerprint = fingerprint_of(identity)
    manifest = {"fingerprint": fingerprint, **identity, "log": log, "facts": facts()}
    write_json(unfinished / MANIFEST, manifest)
    _name(path)
    return Artifact(path, fingerprint)


def existing(
    path: Path, phase: str, settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> Artifact | None:
    """Return the artifact at `path` if it is there; refuse one that was made differently.

    Raises ArtifactError, naming the phase and what differs, if the settings or inputs of the
    finished phase are not today's, or if the artifact is damaged.
    """
    if not path.exists():
        if not (partial(path) / MANIFEST).exists():
            return None
        _name(path)  # all that was missing when the process ended
    manifest = read_manifest(path)
    different = _changes(manifest, settings, inputs)
    if different:
        raise ArtifactError(
            f"the finished phase {phase} ({path}) was made with other settings: "
            + "; ".join(different)
            + ". Set them back, use another run_dir, or move this folder and the later ones away "
            "to make them again."
        )
    if manifest["fingerprint"] != fingerprint_of({name: manifest[name] for name in IDENTITY}):
        raise ArtifactError(
            f"the finished phase {phase} ({path}) is damaged: its manifest was changed. Move the "
            "folder away to make it again."
        )
    for name in _resized(path, _sizes(manifest)):
        raise ArtifactError(
            f"the finished phase {phase} ({path}) is damaged: {name} is missing or has another "
            "size than when it was written. Move the folder away to make it again."
        )
    return Artifact(path, str(manifest["fingerprint"]))


def changed(path: Path) -> list[str]:
    """Return what of a finished artifact is missing, or has another size than when it was written.

    ArtifactError if its manifest cannot be read.
    """
    manifest = read_manifest(path)
    logs = manifest.get("log", {})  # none of artifacts that were made before it was kept
    return list(_resized(path, {**_sizes(manifest), **logs}))


def _sizes(manifest: Mapping[str, Any]) -> dict[str, int]:
    return {name: facts["bytes"] for name, facts in manifest["files"].items()}


def _resized(path: Path, sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield the files that are missing, or have another size."""
    for name, size in sizes.items():
        file = path / name
        if not file.is_file() or file.stat().st_size != size:
            yield name


def read_manifest(path: Path) -> dict[str, Any]:
    """Return an artifact's manifest; ArtifactError if there is none that can be read."""
    manifest = read_json(path / MANIFEST, "the folder away to make it again")
    kinds = {"fingerprint": str, "phase": str, "facts": dict}
    kinds |= {"settings": dict, "inputs": dict, "files": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(manifest.get(key), kind)]
    if wrong:
        raise ArtifactError(
            f"{path / MANIFEST} is damaged: it lacks {', '.join(wrong)}. Move the folder away to "
            "make it again"
        )
    return manifest


def start(path: Path) -> Path:
    """Return an empty partial folder for `path`."""
    unfinished = partial(path)
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(parents=True)
    return unfinished


def resume(path: Path, phase: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> Path:
    """Return the partial folder of `path` to go on in, an empty one if there is none.

    Raises ArtifactError, naming the phase and what differs, if it was begun with other settings or
    inputs: what it holds and what would be added do not belong together.
    """
    unfinished = partial(path)
    begun = unfinished / BEGUN
    if not begun.exists():
        start(path)
        write_json(begun, {"settings": settings, "inputs": inputs})
        return unfinished
    before = read_json(begun, "its folder away to begin the phase again")
    different = _changes({"settings": {}, "inputs": {}, **before}, settings, inputs)
    if different:
        raise ArtifactError(
            f"the unfinished phase {phase} ({unfinished}) was begun with other settings: "
            + "; ".join(different)
            + ". Set them back to go on with it, or move this folder away to begin it again."
        )
    return unfinished


def fingerprint_of(value: object) -> str:
    """Return the SHA-256 of a JSON value in its canonical spelling."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read_json(file: Path, advice: str) -> dict[str, Any]:
    """Return a file's JSON object; ArtifactError says that it is damaged, and to move `advice`."""
    try:
        value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"a JSON {type(value).__name__} where an object is expected")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file} is damaged: {error}. Move {advice}") from None
    return value


def write_json(file: Path, value: object) -> None:
    """Write a JSON file so that a reader sees the old or the new one, never a part."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    # JSON's own escapes for what UTF-8 cannot hold: bytes of a path that are no text.
    write_bytes(file, [text.encode("utf-8", "backslashreplace")])


def write_bytes(file: Path, pieces: Iterable[bytes]) -> None:
    """Write a file, flushed to disk, so that a reader sees the old or the new one."""
    fresh = _fresh(file)
    with fresh.open("wb") as out:
        for piece in pieces:
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)


def _fresh(file: Path) -> Path:
    """Return where a file is written before it is whole."""
    return file.with_name(f"{file.name}.new")


def link_or_copy(source: Path, target: Path) -> None:
    """Put a folder's files under another name, without a second copy where links are possible."""
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:
            shutil.copy2(file, place)


def _name(path: Path) -> None:
    """Give a folder with a manifest its name; what the phase would have gone on from goes."""
    unfinished = partial(path)
    (unfinished / BEGUN).unlink(missing_ok=True)
    if (unfinished / WORK).exists():
        shutil.rmtree(unfinished / WORK)
    unfinished.rename(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Have a file's or folder's content written to disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle for a folder to flush
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _changes(
    made: Mapping[str, Any], settings: Mapping[str, Any], inputs: Mapping[str, str]
) -> list[str]:
    """Say how settings and inputs differ from those that something was made with."""
    return differences(made["settings"], settings) + [
        f"its input {name} has changed"
        for name in sorted({*made["inputs"], *inputs})
        if made["inputs"].get(name) != inputs.get(name)
    ]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in words, key by key, where settings that were stored differ from today's."""
    today = json.loads(json.dumps(now))
    return [
        f"{name} was {_short(old)} and is now {_short(new)}"
        for name, old, new in _differences(before, today, "")
    ]


def _differences(before: Any, now: Any, name: str) -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted({*before, *now})
            for difference in _differences(
                before.get(key), now.get(key), f"{name}.{key}" if name else key
            )
        ]
    return [] if before == now else [(name, before, now)]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
