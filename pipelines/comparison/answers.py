"""One side of a comparison: the stored answers of an evaluation, by task and question."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import artifacts, json_lines, places
from pipelines.artifacts import MANIFEST
from pipelines.report.run import mapping, section

ANSWERS = ".answers.jsonl"

CONDITIONS = ("prompt", "stop", "max_tokens", "verifier")
"""What a difference may be due to besides the policy, where the figures state it."""

SAMPLING = ("temperature", "top_p")
"""The same of the answers that were drawn; stated under `samples`."""


class NoAnswers(ValueError):
    """A folder without a finished evaluation that can be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with its verdict. Of a question, sample 0 is greedy and the others are drawn.

    `response` is kept of greedy answers alone: nothing shows the drawn ones, which are far more.
    """

    outcome: str
    extracted: str
    response: str
    truncated: bool

    @property
    def correct(self) -> bool:
        """Whether the verifier found it right."""
        return self.outcome == "correct"


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a task with all its answers, by sample."""

    id: str
    text: str
    gold: str
    answers: Mapping[int, Answer]

    @property
    def greedy(self) -> Answer | None:
        """The greedy answer, if there is one."""
        return self.answers.get(0)

    @property
    def sampled(self) -> list[Answer]:
        """The answers that were drawn."""
        return [answer for sample, answer in self.answers.items() if sample > 0]


Key = tuple[str, str, int]
"""What makes questions of two sides the same: text, gold, and which of such twins in its set."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A task's questions in order, with the data's fingerprint and the conditions, if stated."""

    task: str
    fingerprint: str
    conditions: Mapping[str, Any]
    questions: Mapping[Key, Question]


@dataclass(frozen=True, slots=True)
class Side:
    """A folder's evaluations by task; `name` is short, `place` says exactly which folder."""

    name: str
    place: str
    evaluations: Mapping[str, Evaluation]


def read(path: Path, iteration: int | None = None) -> Side:
    """Read a run directory's evaluation of an iteration, or an evaluation's own folder.

    Raises:
        NoAnswers: neither of both, an iteration that is not evaluated, or damaged files.
    """
    if not path.is_dir():
        raise NoAnswers(f"{path}: no such folder; give a run directory or an evaluation's folder")
    folder, name = path, path.resolve().name
    if (path / "iterations").is_dir():
        folder = _evaluated(path, iteration)
        name = f"{name}-{folder.parent.name}"
    files = sorted(folder.glob(f"*{ANSWERS}"))
    if not files:
        held = ", ".join(sorted(item.name for item in folder.iterdir())[:8]) or "nothing"
        raise NoAnswers(
            f"{folder} holds no evaluation: no TASK{ANSWERS} in it, found {held}. Give a run "
            "directory, or a folder that `iterative-grpo evaluate --output` has filled"
        )
    made_by = _of_record(folder / "evaluation.json") or _of_run(folder)
    evaluations = [_evaluation(file, made_by) for file in files]
    return Side(name, str(folder), {each.task: each for each in evaluations})


def _evaluated(run: Path, iteration: int | None) -> Path:
    """Return the folder of a run's evaluation: of the last iteration where none is named."""
    found = {
        int(folder.name): folder / "evaluate"
        for folder in places.iterations(run)
        if (folder / "evaluate" / MANIFEST).exists()
    }
    if not found:
        raise NoAnswers(f"{run}: no iteration of this run has been evaluated yet")
    if iteration is not None and iteration not in found:
        raise NoAnswers(
            f"{run}: iteration {iteration} has not been evaluated; evaluated are "
            f"{', '.join(map(str, found))}"
        )
    return found[max(found) if iteration is None else iteration]


def _of_record(file: Path) -> dict[str, Any]:
    """Return the engine and the precision that the command `evaluate` recorded."""
    if not file.exists():
        return {}
    record = artifacts.read_json(file, "it away to compare without it")
    return {key: record[key] for key in ("engine", "dtype") if key in record}


def _of_run(folder: Path) -> dict[str, Any]:
    """Return what a run samples with, engine and precision, by the folder of its evaluation."""
    run = folder.resolve().parent.parent.parent  # RUN/iterations/NN/evaluate
    settings = mapping(run / "config.yaml", [])
    half = section(settings, "optimize").get("bf16")
    dtype = "bfloat16" if half else section(settings, "policy").get("dtype")
    stated = {"engine": settings.get("engine"), "dtype": dtype}
    return {key: value for key, value in stated.items() if value is not None}


def _evaluation(file: Path, made_by: Mapping[str, Any]) -> Evaluation:
    record = file.with_name(file.name.removesuffix(ANSWERS) + ".json")
    try:
        figures = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoAnswers(
            f"{file} has no {record.name} beside it: that evaluation is not finished; the command "
            "that began it goes on with it"
        ) from None
    except (OSError, ValueError) as error:
        raise NoAnswers(f"{record}: cannot be read: {error}") from None
    if not isinstance(figures, dict) or not isinstance(figures.get("task"), str):
        raise NoAnswers(f"{record}: expected an evaluation's figures with the key 'task'")
    drawn = figures.get("samples")
    drawn = drawn if isinstance(drawn, dict) else {}
    stated = {key: figures[key] for key in CONDITIONS if key in figures}
    return Evaluation(
        task=figures["task"],
        fingerprint=str(figures.get("fingerprint", "")),
        conditions={**made_by, **stated, **{key: drawn[key] for key in SAMPLING if key in drawn}},
        questions=_questions(file),
    )


def _questions(file: Path) -> dict[Key, Question]:
    asked: dict[str, tuple[str, str]] = {}
    answers: dict[str, dict[int, Answer]] = {}
    for where, row in json_lines.objects(file, NoAnswers, "Evaluate into another folder"):
        _check(row, where)
        identity, text = row["problem_id"], (row["question"], row["answer"])
        if asked.setdefault(identity, text) != text:
            raise NoAnswers(f"{where}: {identity} asks something else than a line before it")
        known = answers.setdefault(identity, {})
        sample = row.get("sample", len(known))
        if not isinstance(sample, int) or isinstance(sample, bool) or sample < 0:
            raise NoAnswers(f"{where}: sample is {sample!r}, expected a number from 0 on")
        if sample in known:
            raise NoAnswers(f"{where}: sample {sample} of {identity} stands there twice")
        known[sample] = _answer(row, sample)
    if not asked:
        raise NoAnswers(f"{file}: no answers in it")
    twins: Counter[tuple[str, str]] = Counter()
    keyed: dict[Key, Question] = {}
    for identity, text in asked.items():
        keyed[*text, twins[text]] = Question(identity, *text, answers[identity])
        twins[text] += 1
    return keyed


def _check(row: Mapping[str, Any], where: str) -> None:
    keys = ("problem_id", "question", "answer", "outcome", "response")
    missing = [key for key in keys if not isinstance(row.get(key), str)]
    if missing:
        raise NoAnswers(f"{where}: no text under {', '.join(missing)}; this is no answers' file")


def _answer(row: Mapping[str, Any], sample: int) -> Answer:
    extracted = row.get("extracted")
    return Answer(
        outcome=row["outcome"],
        extracted="" if extracted is None else str(extracted),
        response=row["response"] if sample == 0 else "",
        truncated=row.get("finish") == "length",
    )
