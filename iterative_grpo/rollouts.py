"""What a policy phase sampled, with the rewards and advantages it got, and its health figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterative_grpo.normalize import Normalizer
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


def health(rollouts: Sequence[Rollout], group_size: int, normalize: Normalizer) -> dict[str, float]:
    """Return the figures that show a policy gaming its reward, for one generation.

    Padding with steps, collapse to few steps, empty outputs and saturated groups all show here
    before they show in accuracy. `rollouts` are consecutive groups of `group_size`.
    """
    figures = {
        "truncated": _share(r.finish is Finish.LENGTH for r in rollouts),
        "empty": _share(not r.text.strip() for r in rollouts),
        "one_step": _share(len(r.advantages) == 1 for r in rollouts),
        "steps_per_output": _mean(len(r.advantages) for r in rollouts),
        "advantage_rms": math.sqrt(_mean(a * a for r in rollouts for a in r.advantages)),
        "frac_skipped_groups": _share(
            not normalize.has_spread([r.rewards.values for r in group])
            for group in _groups(rollouts, group_size)
        ),
    }
    for name in sorted({name for r in rollouts for name in r.rewards.components}):
        figures[f"reward/{name}"] = _mean(
            _mean(r.rewards.components[name]) for r in rollouts if name in r.rewards.components
        )
    judged = [r for r in rollouts if r.correct is not None]
    if judged:
        figures["verifier_accuracy"] = _share(bool(r.correct) for r in judged)
        for name, verdict in (("correct", True), ("incorrect", False)):
            chosen = [r for r in judged if r.correct is verdict]
            if chosen:
                figures[f"steps_{name}"] = _mean(len(r.advantages) for r in chosen)
                figures[f"tokens_{name}"] = _mean(r.tokens for r in chosen)
    return figures


def _groups(rollouts: Sequence[Rollout], size: int) -> list[Sequence[Rollout]]:
    return [rollouts[i : i + size] for i in range(0, len(rollouts), size)]


def _share(flags: Iterable[bool]) -> float:
    return _mean(1.0 if flag else 0.0 for flag in flags)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else 0.0
