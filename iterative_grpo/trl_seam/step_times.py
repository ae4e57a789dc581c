"""What each part of the trainer's work took, from log to log."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from iterative_grpo import timing


class StepTimes(TrainerCallback):
    """Times the optimizer's steps, and reads the clock at each log."""

    def __init__(self) -> None:
        self._clock = timing.current()
        self._last = self._clock.read()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Open the optimizer's part: clipping is over, the step comes next."""
        self._clock.begin("optimizer")

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Close it."""
        self._clock.end()

    def since_last(self) -> dict[str, float]:
        """Return `time/PART` in seconds and `speed/PART` in tokens a second since the last call."""
        before, self._last = self._last, self._clock.read()
        figures = {}
        for name, now in self._last.items():
            then = before.get(name, timing.Spent())
            seconds, tokens = now.seconds - then.seconds, now.tokens - then.tokens
            if seconds > 0:
                figures[f"time/{name}"] = seconds
                if tokens:
                    figures[f"speed/{name}"] = tokens / seconds
        return figures
