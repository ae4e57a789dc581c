"""An adaptive KL coefficient that holds a target (Ziegler et al., arXiv:1909.08593 §2.2).

    e_t = clip((KL_t - target) / target, -clip, clip)        beta_{t+1} = beta_t (1 + rate * e_t)

with rate 0.1 and clip 0.2 as in the source, so that a step changes the coefficient by 2 % at most.
KL_t is the one that the loss sees: to the reference, in nats a token, where the source sums over
the tokens of an output. A phase begins at its reference, so that the coefficient falls first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from transformers import TrainerCallback


@dataclass(frozen=True, slots=True)
class KLControl:
    """The proportional controller: what the next step's coefficient is."""

    target: float
    rate: float = 0.1
    clip: float = 0.2

    def __post_init__(self) -> None:
        if not self.target > 0:
            raise ValueError(f"KL target is {self.target}, must be above 0")

    def next(self, beta: float, kl: float) -> float:
        """Return the coefficient for the next step, from this step's and its KL."""
        error = min(max((kl - self.target) / self.target, -self.clip), self.clip)
        return beta * (1 + self.rate * error)


class _HasBeta(Protocol):
    beta: float


class AdaptiveKL(TrainerCallback):
    """Moves a trainer's `beta` by the KL of each logged step.

    A resumed training finds its coefficient by going through the log that its checkpoint kept.
    """

    def __init__(self, trainer: _HasBeta, control: KLControl) -> None:
        if not trainer.beta > 0:
            raise ValueError(
                f"beta is {trainer.beta}: the controller multiplies it, so it must start above 0"
            )
        self._trainer, self._control = trainer, control

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Catch up with the steps before a resume."""
        for logs in state.log_history:
            self._follow(logs)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Set the coefficient of the next step."""
        self._follow(logs or {})

    def _follow(self, logs: Mapping[str, Any]) -> None:
        kl = logs.get("kl")
        # None: TRL's word for NaN. All outputs were masked, or a step has broken the policy.
        if kl is not None:
            self._trainer.beta = self._control.next(self._trainer.beta, float(kl))
