"""What a policy phase sampled, with the rewards and advantages it got."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterative_grpo.types import Finish, StepRewards


@dataclass(frozen=True, slots=True)
class Rollout:
    """One output of a policy step: `advantages[k]` is the advantage of every token of step k.

    `correct` is the verifier's verdict on it where it was asked for; it is logged, and is a reward
    only if the reward source says so.
    """

    problem_id: str
    sample: int
    text: str
    tokens: int
    finish: Finish
    rewards: StepRewards
    advantages: tuple[float, ...]
    correct: bool | None = None

    @property
    def right(self) -> bool | None:
        """Whether rewards should take it for right: by its verdict, and not cut off by the limit.

        The end that the limit cut off gets the lowest reward even if an answer stands in it.
        """
        return None if self.correct is None else self.correct and self.finish is not Finish.LENGTH

    @property
    def score(self) -> float | None:
        """What the reward model says of the whole: its score at the last end, if it was asked."""
        scores = self.rewards.components.get("model")
        return None if scores is None else scores[-1]

    def as_row(self, **more: Any) -> dict[str, Any]:
        """Return the rollout as a JSON object, with the keys of `more` in front."""
        return {
            **more,
            "problem_id": self.problem_id,
            "sample": self.sample,
            "correct": self.correct,
            "finish": self.finish.value,
            "tokens": self.tokens,
            "text": self.text,
            "ends": list(self.rewards.ends),
            "rewards": list(self.rewards.values),
            "components": {name: list(v) for name, v in self.rewards.components.items()},
            "advantages": list(self.advantages),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Rollout:
        """Return the rollout that `as_row` wrote."""
        return cls(
            problem_id=row["problem_id"],
            sample=row["sample"],
            text=row["text"],
            tokens=row["tokens"],
            finish=Finish(row["finish"]),
            rewards=StepRewards(
                tuple(row["ends"]),
                tuple(row["rewards"]),
                {name: tuple(v) for name, v in row["components"].items()},
            ),
            advantages=tuple(row["advantages"]),
            correct=row["correct"],
        )


def read(path: Path) -> Iterator[tuple[int, Rollout]]:
    """Yield (policy step, rollout) from a rollouts file."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["step"], Rollout.from_row(row)
