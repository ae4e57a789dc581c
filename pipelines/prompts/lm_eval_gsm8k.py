"""lm-eval's `gsm8k` task: five solutions of the training split, then the question.

Source: github.com/EleutherAI/lm-evaluation-harness, `lm_eval/tasks/gsm8k/gsm8k.yaml` (task version
3.0 of lm-eval 0.4.13) and its default sampler. Every question gets examples of its own: one random
stream with lm-eval's default seed draws five rows for question 0, five for question 1 and so on.
The examples are rows as they are, calculator marks included, so the prompt needs the data set.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from iterative_grpo.types import Problem
from pipelines.datasets import gsm8k
from pipelines.datasets._tables import stored_rows
from pipelines.prompts import Unrenderable
from pipelines.prompts._turns import Example, as_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = True
STOP = ("Question:", "</s>", "<|im_end|>")

SHOTS = 5
SEED = 1234


def with_data(path: Path | None) -> Format:
    """Return the format with the training split of a folder, or of the hub where there is none.

    Raises DataError if the split cannot be read, Unrenderable if it is too small to draw from.
    """
    rows = stored_rows(gsm8k.TABLE, "train", path)
    if len(rows) <= SHOTS:
        raise Unrenderable(
            f"lm_eval_gsm8k draws {SHOTS} examples from gsm8k's training split, found {len(rows)} "
            "rows there; take the whole split, or choose gsm8k_8shot"
        )
    return Format([Example(_asked(row["question"]), row["answer"]) for row in rows])


@dataclass(frozen=True, slots=True)
class Format:
    """The format with the training split's rows, in their order."""

    rows: Sequence[Example]
    SPECIAL_TOKENS: bool = SPECIAL_TOKENS
    STOP: tuple[str, ...] = STOP
    _streams: dict[int, _Stream] = field(default_factory=dict)

    def render(self, problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return the question's examples and the question, up to "Answer:".

        Raises Unrenderable for a problem without a row number: the number chooses the examples.
        """
        split, _, number = problem.id.rpartition("/")
        if not number.isdecimal():
            raise Unrenderable(
                f"{problem.id}: lm_eval_gsm8k chooses examples by the number of a question's row, "
                "and this id ends in none; choose gsm8k_8shot"
            )
        # One more for questions of the same split: a question is no example of itself.
        count = SHOTS + (split == "gsm8k/train")
        stream = self._streams.setdefault(count, _Stream(len(self.rows), count))
        asked = _asked(problem.question)
        chosen = [self.rows[row] for row in stream.rows_of(int(number))]
        return as_text([row for row in chosen if row.asked != asked][:SHOTS], asked)


class _Stream:
    """The rows drawn for question after question, `count` each, as lm-eval's sampler does."""

    def __init__(self, rows: int, count: int) -> None:
        self._rows, self._count = range(rows), count
        self._random = random.Random(SEED)  # noqa: S311 - reproducible, guards nothing
        self._drawn: list[list[int]] = []

    def rows_of(self, number: int) -> list[int]:
        """Return the rows of a question; those of the questions before it are drawn first."""
        while len(self._drawn) <= number:
            self._drawn.append(self._random.sample(self._rows, self._count))
        return self._drawn[number]


def _asked(question: str) -> str:
    return f"Question: {question}\nAnswer:"
