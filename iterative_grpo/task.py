"""What a policy phase trains on: problems with their prompts, one row a visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iterative_grpo.types import Problem, Prompt


@dataclass(frozen=True, slots=True)
class Task:
    """The problems of a training phase with their prompts, in the order they are trained on.

    The order is fixed beforehand, one row a visit: TRL's own shuffling does not survive a resume.
    """

    problems: Sequence[Problem]
    prompts: Sequence[Prompt]
    texts: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.problems) == len(self.prompts) == len(self.texts):
            raise ValueError(
                f"{len(self.problems)} problems, {len(self.prompts)} prompts and "
                f"{len(self.texts)} texts; each problem needs one of each"
            )
