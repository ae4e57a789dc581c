"""What a policy phase trains on: problems with their prompts, one row a visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
