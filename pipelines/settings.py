"""Reads settings: a YAML file, then dotted overrides, into a checked `Config`."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import ValidationError

from pipelines import keywords
from pipelines.config import Config
from pipelines.section import Section

Checked = TypeVar("Checked", bound=Section)


class ConfigError(ValueError):
    """A configuration that is refused; the message says what was found, expected, and to do."""


SHIPPED = Path(__file__).parent / "configs"


class _Loader(yaml.SafeLoader):
    """YAML without dates (`run_dir: 2026-01-31` is a name), that takes each key once.

    Of two sections of one name YAML would keep the second and drop the first without a word.
    """

    yaml_constructors: ClassVar = {
        **yaml.SafeLoader.yaml_constructors,
        "tag:yaml.org,2002:timestamp": yaml.SafeLoader.construct_yaml_str,
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return the mapping as it is written: what it merges from others is not in it yet."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                twice = f"{key.value} is given twice"
                raise yaml.MarkedYAMLError(problem=twice, problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def load(source: Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file (or mapping), apply `key.path=value` overrides, and check it all.

    Raises ConfigError with every problem found, one a line.
    """
    raw = _read(source) if isinstance(source, Path) else copy.deepcopy(dict(source))
    for override in overrides:
        _apply(raw, override)
    unknown = list(_unknown_keys(raw, Config, ""))
    if unknown:
        raise ConfigError("\n".join(unknown))
    return check(Config, raw)


def given(overrides: Sequence[str]) -> dict[str, Any]:
    """Return what `key.path=value` overrides set by themselves, unchecked."""
    raw: dict[str, Any] = {}
    for override in overrides:
        _apply(raw, override)
    return raw


def check(section: type[Checked], raw: Mapping[str, Any]) -> Checked:
    """Return a section's settings from raw values; ConfigError names what does not fit."""
    try:
        return section.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(_plainly(error))) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        shipped = [file.stem for file in SHIPPED.glob("*.yaml")]
        hint = keywords.hint(path.stem, shipped) if path.parent == Path() else ""
        raise ConfigError(
            f"{path}: no such file.{hint} `iterative-grpo configs` lists the shipped ones"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    try:
        raw = _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else type(raw).__name__
        raise ConfigError(f"{path}: expected keys and values, found {found}")
    return raw


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set one dotted key to a value, read as YAML reads it."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"{override!r}: an override is written key.path=value")
    *parents, last = key.split(".")
    target = raw
    for parent in parents:
        inner = target.setdefault(parent, {})
        if inner is None:
            inner = target[parent] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{override!r}: {parent} is a value, not a section")
        target = inner
    try:
        read = _Loader(value).get_single_data()
    except (yaml.YAMLError, ValueError):
        read = value
    before = target.get(last)
    if isinstance(read, dict) and isinstance(before, dict):
        dropped = [f"{key}.{name}" for name in before if name not in read]
        if dropped:
            raise ConfigError(
                f"{override!r} would drop {', '.join(dropped)}; set {key}.NAME=value one by one, "
                f"or {key}=null before it to begin from the defaults"
            )
    target[last] = read


def _section_of(annotation: Any) -> type[Section] | None:
    candidates = [annotation, *get_args(annotation)]
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def _unknown_keys(raw: Mapping[str, Any], section: type[Section], prefix: str) -> Iterator[str]:
    fields = section.model_fields
    for key, value in raw.items():
        name = f"{prefix}{key}"
        if key not in fields:
            everywhere: dict[str, str] = {}
            for known, path in _all_keys(Config, ""):
                everywhere.setdefault(known, path)
            initials = ["".join(word[0] for word in field.split("_")) for field in fields]
            near = (
                [field for field, short in zip(fields, initials, strict=True) if short == key]
                or difflib.get_close_matches(str(key), fields, n=1)
                # Far from here, only what is hardly misspelt.
                or difflib.get_close_matches(str(key), everywhere, n=1, cutoff=0.8)
            )
            hint = ""
            if near:
                known = f"{prefix}{near[0]}" if near[0] in fields else everywhere[near[0]]
                hint = f" Did you mean {known}?"
            yield f"unknown key {name}.{hint} Known here: {', '.join(sorted(fields))}."
            continue
        inner = _section_of(fields[key].annotation)
        if inner is not None and isinstance(value, Mapping):
            yield from _unknown_keys(value, inner, f"{name}.")


def _all_keys(section: type[Section], prefix: str) -> Iterator[tuple[str, str]]:
    for key, field in section.model_fields.items():
        yield key, f"{prefix}{key}"
        inner = _section_of(field.annotation)
        if inner is not None:
            yield from _all_keys(inner, f"{prefix}{key}.")


def _plainly(error: ValidationError) -> Iterator[str]:
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        message, found = item["msg"].removeprefix("Value error, "), item["input"]
        message = message.replace(" for <class 'pathlib.Path'>", "")
        if not where:
            yield message
        elif item["type"] == "missing":
            yield f"{where}: required, but not given"
        elif item["type"] == "value_error" and isinstance(found, Mapping | Section):
            yield f"{where}: {message}"  # of settings that do not fit; the message has their values
        elif item["type"] == "tuple_type":
            listed = f"write [{found}]" if isinstance(found, str | int | float) else "write [a, b]"
            yield f"{where}: expected a list, found {found!r}; {listed}"
        else:
            yield f"{where}: {message}, found {found!r}"


def locate(path: Path) -> Path:
    """Return a configuration file: the path itself, or the shipped file of that name."""
    shipped = SHIPPED / path.with_suffix(".yaml").name
    if not path.exists() and path.parent == Path() and shipped.exists():
        return shipped
    return path
