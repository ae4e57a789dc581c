"""Read a run directory as far as it has come; what is absent is empty, what is broken is noted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines import artifacts, metrics, places
from pipelines.report.intervals import Estimate, wilson
from reward_models import sources

Row = Mapping[str, Any]
"""One line of JSON Lines; its keys are those of docs/run_directory.md, each of them optional."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run has written so far.

    `steps` has one row a policy step, those of a phase at work too. `iterations` has one an
    iteration that was evaluated, iteration 0 is the policy before its first step; `under_way` one
    an iteration that was not, with what its finished phases found. `notes` say which lines and
    files could not be read.
    """

    path: Path
    configuration: Mapping[str, Any]
    about: Mapping[str, Any]
    steps: Sequence[Row]
    iterations: Sequence[Row]
    notes: tuple[str, ...]
    under_way: Sequence[Row] = ()

    def setting(self, key: str, default: Any = None) -> Any:
        """Return a setting by its dotted key, or `default` where the file does not have it."""
        value: Any = self.configuration
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value

    @property
    def rewarded_by(self) -> str | None:
        """Who rewards the policy where the run trains no reward model, None where it trains one."""
        return sources.judged_by(str(self.setting("reward")))

    @property
    def begun(self) -> list[Row]:
        """The rows of all iterations, those under way behind those that were evaluated."""
        return [*self.iterations, *self.under_way]

    def progress(self) -> list[str]:
        """Say of each iteration under way how far its policy has come."""
        lines = []
        for row in self.under_way:
            iteration = number(row, "iteration")
            done = sum(number(step, "iteration") == iteration for step in self.steps)
            steps = f", {done} of {self.setting('optimize.steps', '?')} steps" if done else ""
            lines.append(f"iteration {iteration or 0:.0f}: in progress{steps}")
        return lines

    def tasks(self) -> list[str]:
        """Return the names of the evaluated tasks in the order of their appearance."""
        found: dict[str, None] = {}
        for row in self.iterations:
            found |= dict.fromkeys(section(row, "evaluations"))
        return list(found)


class NoRun(ValueError):
    """A folder that is no run directory."""


def read(path: Path) -> Run:
    """Read a run directory, or raise `NoRun` where nothing says that it is one."""
    if not path.is_dir():
        raise NoRun(f"{path}: no such folder; give the run_dir of an `iterative-grpo run`")
    known = [path / "config.yaml", path / "run.json", path / "metrics"]
    if not any(item.exists() for item in known):
        raise NoRun(
            f"{path} is no run directory: it has neither config.yaml, run.json nor metrics/; "
            "give the run_dir of an `iterative-grpo run`"
        )
    notes: list[str] = []
    steps = json_lines(path / "metrics" / "steps.jsonl", notes)
    iterations = _last_of_each(
        json_lines(path / "metrics" / "iterations.jsonl", notes), ("iteration",)
    )
    return Run(
        path=path,
        configuration=mapping(path / "config.yaml", notes),
        about=mapping(path / "run.json", notes),
        steps=_last_of_each([*steps, *_unpublished(path, steps, notes)], ("iteration", "step")),
        iterations=iterations,
        under_way=_under_way(path, iterations, notes),
        notes=tuple(notes),
    )


def _unpublished(path: Path, steps: Sequence[Row], notes: list[str]) -> list[Row]:
    """Return the steps that metrics/ does not have yet: those of a policy phase at work."""
    known = {number(row, "iteration") for row in steps}
    found: list[Row] = []
    for folder in places.iterations(path):
        if int(folder.name) not in known:
            phase = folder / "optimize"
            phase = phase if phase.exists() else artifacts.partial(phase)
            found += json_lines(phase / artifacts.LOG / "steps.jsonl", notes)
    return [{"global_step": at, **row} for at, row in enumerate(found, start=len(steps) + 1)]


def _under_way(path: Path, evaluated: Sequence[Row], notes: list[str]) -> list[Row]:
    """Return the rows of the iterations that were not evaluated yet."""
    known = {number(row, "iteration") for row in evaluated}
    try:
        found = list(metrics.under_way(path))
    except artifacts.ArtifactError as error:
        notes.append(str(error))
        return []
    return [row for row in found if row["iteration"] not in known]


def damage(run: Path) -> Iterator[str]:
    """Yield what of a run's phases is not as it was written: figures may come from less."""
    for phase in sorted([run / "start", *run.glob("iterations/*/*")]):
        if not phase.is_dir() or phase.suffix == ".partial":
            continue
        where = phase.relative_to(run).as_posix()
        try:
            found = artifacts.changed(phase)
        except (artifacts.ArtifactError, AttributeError, KeyError, TypeError):
            yield f"{where}: its manifest.json is missing or damaged, and the phase may be left out"
            continue
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            yield f"{where}: missing or changed since it was written: {', '.join(found[:3])}{more}"


def json_lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Return the rows of a file; lines that are no JSON object are left out and noted.

    The last line may be half written while a run goes on: that is no damage, and not noted.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        notes.append(f"{path.name}: cannot be read: {error.strerror}")
        return []
    return parse_lines(content, path.name, notes)


def parse_lines(content: bytes, name: str, notes: list[str]) -> list[dict[str, Any]]:
    """Return the rows of JSON Lines, as `json_lines` does for a file."""
    lines = content.split(b"\n")
    rows = []
    for place, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif place < len(lines):
            notes.append(f"{name}, line {place}: no JSON object; left out")
    return rows


def section(row: Row, key: str) -> Mapping[str, Any]:
    """Return a row's inner mapping, or an empty one."""
    value = row.get(key)
    return value if isinstance(value, Mapping) else {}


def number(row: Row, key: str) -> float | None:
    """Return a row's finite number, or None where there is none."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < float("inf") else None


def accuracy(row: Row, task: str) -> Estimate | None:
    """Return a task's accuracy in an iteration's row, with the interval that it states.

    A row without an interval gets Wilson's from its counts.
    """
    found = section(section(row, "evaluations"), task)
    share, low, high = (number(found, key) for key in ("accuracy", "low", "high"))
    correct, n = number(found, "correct"), number(found, "n")
    if share is not None and low is not None and high is not None:
        return Estimate(share, low, high)
    if correct is not None and n is not None and 0 <= correct <= n and n > 0:
        return wilson(int(correct), int(n))
    return None


def mapping(path: Path, notes: list[str]) -> dict[str, Any]:
    """Return a YAML or JSON file's mapping, which YAML's safe reader both reads."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        notes.append(f"{path.name}: cannot be read")
        return {}
    if not isinstance(value, dict):
        notes.append(f"{path.name}: expected keys and values")
        return {}
    return value


def _last_of_each(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Keep the last row of each key: a phase that was killed and resumed writes a step twice."""
    last: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        identity = tuple(number(row, key) for key in keys)
        if None not in identity:
            last[identity] = row
    return [last[identity] for identity in sorted(last)]
