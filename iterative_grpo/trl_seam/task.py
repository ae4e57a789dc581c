"""What a policy phase trains on: problems with their prompts, one row a visit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from iterative_grpo.types import Problem, Prompt


@dataclass(frozen=True, slots=True)
class Task:
    """The problems of a training phase with their prompts, in the order they are trained on.

    The order is fixed beforehand, one row a visit: TRL's own shuffling does not survive a resume.
    `stop` strings end an answer besides EOS; they need an engine, TRL does not sample with them.
    """

    problems: Sequence[Problem]
    prompts: Sequence[Prompt]
    texts: Sequence[str]
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.problems) == len(self.prompts) == len(self.texts):
            raise ValueError(
                f"{len(self.problems)} problems, {len(self.prompts)} prompts and "
                f"{len(self.texts)} texts; each problem needs one of each"
            )

    def check_stop(self, *, engine: bool, masked: bool) -> None:
        """Raise ValueError if stop strings would be ignored, or their outputs left out."""
        if self.stop and (masked or not engine):
            raise ValueError(
                f"the prompts end answers at {self.stop}: that needs an engine (TRL's own sampling "
                "has no stop strings) and mask_truncated_completions off (TRL tells by EOS alone)"
            )

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that TRL reads: the prompt's text and its place here."""
        return [{"prompt": text, "row": row} for row, text in enumerate(self.texts)]


class Batch:
    """Rows of one generation, which come through a data loader as they are.

    Every micro-batch asks for the rows of the whole generation. In a list, accelerate and torch
    copy each of them every time, looking for tensors.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)
