"""The reward-hacking watch of a policy phase: it follows the steps, and may end the phase.

A phase that was cut off and resumes goes through the logged steps again, so that the watch ends it
where an unbroken one would have ended. All processes see the same figures and stop together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from iterative_grpo import rollouts
from pipelines.config import WatchSettings
from reward_models.ledger import Judgement, Ledger
from reward_models.watch import Drift, Observation, Watch


class Watching:
    """The watch of one phase, and what it has said."""

    def __init__(self, settings: WatchSettings) -> None:
        self._watch = Watch(Drift(**settings.retrain_when.model_dump()))
        self._action = settings.action
        self.step: int | None = None
        self.reason: str | None = None
        self.stopped = False

    def see(self, row: Mapping[str, Any]) -> bool:
        """Take a step's figures; return whether the phase should end with it.

        Steps without a reward model's score, or without verdicts, say nothing about it.
        """
        if "gap" not in row:
            return False
        reason = self._watch.see(
            Observation(
                gap=row["gap"],
                pair_accuracy=row.get("pair_accuracy"),
                kl_initial=row.get("kl_initial"),
            )
        )
        if reason is None:
            return False
        if self.reason is None:
            self.step, self.reason = int(row["step"]), reason
        self.stopped = self._action == "stop"
        return self.stopped

    def as_row(self) -> dict[str, Any]:
        """Return what the watch did, as a JSON object; the first reason counts."""
        return {
            "action": self._action,
            "step": self.step,
            "reason": self.reason,
            "stopped": self.stopped,
        }


def ledger(file: Path, seed: int) -> Ledger | None:
    """Return the ledger of a phase's rollouts, None if no reward model or no verifier judged them.

    The file is read once from start to end: a resumed phase needs no state of its own.
    """
    made = Ledger(seed=seed)
    made.add(
        Judgement(rollout.problem_id, rollout.text, rollout.score, rollout.right, step)
        for step, rollout in rollouts.read(file)
        if rollout.score is not None and rollout.right is not None
    )
    return made if sum(made.counts.values()) else None
