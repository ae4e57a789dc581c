"""Retrain phases on made labels: a real tokenizer, a tiny model, and a task it learns in a second.

A question names a digit; a solution repeats it on a line of its own, then states it. What is right
is known, so that labels can be given truly or falsely.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import random
import string
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from iterative_grpo.types import Problem
from pipelines import dividing, questions, settings
from pipelines.config import Config
from pipelines.phases import retrain
from pipelines.progress import Progress
from pipelines.runs import Job
from reward_models.division import Part
from reward_models.history import write_labels
from reward_models.types import LabeledSolution
from tests.reward_models.making import llama, words

QUESTIONS, GROUP = 160, 8
Label = Callable[[LabeledSolution], LabeledSolution]


def word(number: int) -> str:
    """A word of letters; the tokenizer knows none of them, so that only the text differs."""
    letters = string.ascii_lowercase
    return letters[number // 676 % 26] + letters[number // 26 % 26] + letters[number % 26]


def question(number: int, split: str) -> tuple[str, int]:
    digit = random.Random(f"{split}/{number}").randrange(10)
    return f"Ann has {digit} coins {split}{word(number)}. How many?", digit


def write_data(folder: Path) -> Path:
    for split, count in (("train", QUESTIONS), ("test", 8)):
        file = folder / "gsm8k" / f"{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        asked = [question(number, split) for number in range(count)]
        lines = [json.dumps({"question": q, "answer": f"{a}={a}\n#### {a}"}) for q, a in asked]
        file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


def config(folder: Path, *overrides: str) -> Config:
    raw: dict[str, Any] = {
        "run_dir": str(folder / "run"),
        "data": {"name": "gsm8k", "path": str(folder / "data"), "decontaminate": None},
        "policy": {"make": {}},
        "evaluate": {"tasks": ["gsm8k/test"]},
        "supervision": "process",
        "max_tokens": 64,
        "label": {"labeler": "exact"},
        "reward_model": {
            "start": "scratch",
            "held_out": 0.2,
            "validation": 0.1,
            "first": {"epochs": 5, "learning_rate": 3e-3},
            "again": {"epochs": 3, "learning_rate": 3e-3},
        },
    }
    return settings.load(raw, overrides)


def solutions(problems: Iterable[Problem], iteration: int) -> list[LabeledSolution]:
    """Eight solutions of each question, about half of them right, with true labels."""
    rows = []
    for problem in problems:
        draw = random.Random(f"{iteration}/{problem.id}")
        digit = int(problem.answer)
        for _ in range(GROUP):
            right = draw.random() < 0.5
            said = digit if right else (digit + draw.randrange(1, 10)) % 10
            rows.append(solution(problem, f"{digit}={digit}\n#### {said}", right, iteration))
    return rows


def solution(problem: Problem, text: str, right: bool, iteration: int) -> LabeledSolution:
    ends = (*(i + 1 for i, c in enumerate(text) if c == "\n"), len(text))
    labels = (1.0,) * (len(ends) - 1) + (float(right),)
    return LabeledSolution(
        problem_id=problem.id,
        question=problem.question,
        text=text,
        ends=ends,
        labels=labels,
        counts=tuple((int(label), 1) for label in labels),
        iteration=iteration,
        labeler="exact",
        completer="",
        correct=right,
        finished=True,
    )


def relabeled(row: LabeledSolution, right: bool) -> LabeledSolution:
    return dataclasses.replace(row, labels=(*row.labels[:-1], float(right)))


class Phases:
    """Retrain phases of one made run, one after the other."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        write_data(folder / "data")
        self.data, self.folder = folder, folder
        self.config = config(folder, *overrides)
        tokenizer = words()
        shape = llama(len(tokenizer), context=256)
        torch.manual_seed(0)
        policy = LlamaForCausalLM(shape)
        policy.save_pretrained(folder / "start" / "policy")
        tokenizer.save_pretrained(folder / "start" / "policy")
        self.problems = questions.training(self.config).problems
        self.labels: list[Path] = []
        self.models: list[Path] = []

    def fork(self, folder: Path, *overrides: str) -> Phases:
        """Go on from here in another folder, with other settings."""
        forked = copy.copy(self)
        forked.folder, forked.config = folder, config(self.data, *overrides)
        forked.labels, forked.models = list(self.labels), list(self.models)
        return forked

    def label(
        self,
        change: Label | None = None,
        *,
        rows: Iterable[LabeledSolution] | None = None,
        changed: tuple[Part, ...] = (Part.LABELS, Part.VALIDATION),
    ) -> Path:
        """Write the next iteration's labels; `change` falsifies those of some parts."""
        rows = solutions(self.problems, len(self.labels) + 1) if rows is None else rows
        place = self.folder / f"label{len(self.labels) + 1}"
        place.mkdir()
        for part, own in dividing.division(self.config).divide(rows).items():
            given = [change(row) for row in own] if change and part in changed else own
            write_labels(place / f"{part.value}.jsonl", given)
        self.labels.append(place)
        return place

    def retrain(self) -> dict[str, Any]:
        """Run the phase on the last labels; return its diagnostics."""
        iteration = len(self.labels)
        output = self.folder / f"retrain{iteration}"
        output.mkdir()
        retrain.run(self.job(output))
        self.models.append(output)
        found: dict[str, Any] = json.loads((output / "diagnostics.json").read_text())
        return found

    def job(self, output: Path) -> Job:
        iteration = len(self.labels)
        inputs = {"policy": self.data / "start", "labels": self.labels[-1]}
        if self.models:
            inputs["reward_model"] = self.models[-1]
        inputs |= {f"history_{i:02d}": past for i, past in enumerate(self.labels[:-1], start=1)}
        return Job("retrain", iteration, self.config, inputs, output, Progress(quiet=True))
