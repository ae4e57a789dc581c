"""Writes docs/configuration.md from the settings' own descriptions: `make docs`."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines.config import Config
from pipelines.section import Section

PAGE = Path(__file__).with_name("configuration.md")

HEAD = """# Configuration

A run is a YAML file with these keys, and `key.path=value` overrides behind it on the command line,
where values are written as in YAML; a whole section, `optimize={...}`, is refused where it would
drop keys that were set before:

```
iterative-grpo run arithmetic seed=1 optimize.steps=30 run_dir=runs/other
```

`iterative-grpo configs` lists the shipped files, `--dry-run` prints what a run would do
and stops after its checks. Unknown keys, wrong types and settings that do not fit each other are
refused at once; options of engines, `optimize.trl`, data, models and trackers are looked at before
anything is computed.

This page is made from the settings' descriptions in `pipelines/config.py`: `make docs`.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *sections(Config, "", None)])


def sections(section: type[Section], prefix: str, given: Section | None) -> Iterator[str]:
    """Yield a table of a section's own keys, then those of its inner sections.

    `given` is the outer section's default for this one, where it has one.
    """
    name = prefix.rstrip(".")
    yield f"## {f'`{name}`' if name else 'The run'}\n"
    yield f"{(section.__doc__ or '').strip().partition(chr(10) * 2)[0]}\n"
    yield "| key | default | meaning |\n| --- | --- | --- |"
    inner: list[tuple[type[Section], str, Section | None]] = []
    for key, field in section.model_fields.items():
        value = getattr(given, key) if given else field.get_default(call_default_factory=True)
        child = section_of(field.annotation)
        if child is not None:
            inner.append((child, f"{prefix}{key}.", value if isinstance(value, Section) else None))
        yield f"| `{prefix}{key}` | {written(value)} | {meaning(field, child)} |"
    yield ""
    for child, path, start in inner:
        yield from sections(child, path, start)


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section that a field holds, if it holds one."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def meaning(field: FieldInfo, child: type[Section] | None) -> str:
    """Return what a key means, and its choices where they are fixed."""
    annotations = (field.annotation, *typing.get_args(field.annotation))
    choices = [
        choice
        for annotation in annotations
        if typing.get_origin(annotation) is typing.Literal
        for choice in typing.get_args(annotation)
    ]
    listed = ", ".join(f"`{choice}`" for choice in choices)
    parts = [field.description or "", listed, "a section, see below" if child else ""]
    return "; ".join(part for part in parts if part)


def written(value: Any) -> str:
    """Write a default as YAML would."""
    match value:
        case _ if value is PydanticUndefined:
            return "required"
        case None:
            return "none"
        case Section():
            return ""
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
