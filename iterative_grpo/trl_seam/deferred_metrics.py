"""Metrics of micro-batches, brought together over the processes once a log.

TRL 1.16's loss asks the other processes for each metric of each micro-batch (KL, entropy, shares of
clipped ratios: seven collectives), and nothing in the loss depends on an answer. Here each question
is kept with this process's numbers, and `log()` asks all of them in one collective. TRL's formulas
then see the same numbers as they would have seen at once, so that the logged values are the same,
but for micro-batches without a token that counts: they have no mean.

One process has nobody to ask, but waits for its GPU at each answer, between the forward pass and
the backward pass of every micro-batch; so its metrics are kept, too.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from trl.trainer.utils import nanmax, nanmin

Metrics = dict[str, list[float]]


class Trainer(Protocol):
    """What is used of TRL's trainer."""

    accelerator: Any
    model: Any
    defer_metrics: bool
    use_adaptive_entropy: bool
    top_entropy_quantile: float
    _metrics: dict[str, Any]


def _ratio(parts: torch.Tensor) -> torch.Tensor:
    # NaN where nothing was counted, all outputs being masked: the log's mean leaves it out. TRL has
    # 0 there, as if the policy had not moved.
    totals = parts.view(-1, 2).sum(dim=0)
    return totals[0] / totals[1]


GATHERED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "policy_loss": torch.nanmean,
    "clip_ratio/low_min": nanmin,
    "clip_ratio/high_max": nanmax,
}
"""What TRL's loss makes of each metric that it gathers; what it sums is a total and a count."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A metric of a micro-batch: this process's part of it, and what is made of all parts."""

    name: str
    part: torch.Tensor
    formula: Callable[[torch.Tensor], torch.Tensor]


class DeferredMetrics:
    """Keeps the metrics of micro-batches, apart for training and evaluation, until `merge`."""

    def __init__(self) -> None:
        self._kept: dict[str, list[_Question]] = defaultdict(list)

    @contextlib.contextmanager
    def keeping(self, trainer: Trainer) -> Iterator[None]:
        """Keep the metrics of the loss that is computed inside; the trainer's own come back after.

        Nothing is done where the loss itself needs the other processes, for an entropy quantile or
        an adaptive entropy coefficient.

        Raises:
            RuntimeError: The loss asked the other processes for something that is not a metric
                known here.
        """
        needed = trainer.use_adaptive_entropy or trainer.top_entropy_quantile < 1.0
        if needed or not trainer.defer_metrics:
            yield
            return
        mode = _mode(trainer)
        accelerator, metrics = trainer.accelerator, trainer._metrics[mode]
        asking = _Asking(accelerator)
        named = _Named(metrics, asking)
        trainer.accelerator, trainer._metrics[mode] = asking, named
        try:
            yield
        finally:
            trainer.accelerator, trainer._metrics[mode] = accelerator, metrics
        asking.check()
        self._kept[mode] += named.questions

    def merge(self, trainer: Trainer) -> None:
        """Hand the kept metrics over to the trainer: one collective, none if nothing was kept."""
        mode = _mode(trainer)
        questions = self._kept.pop(mode, [])
        if not questions:
            return
        local = torch.cat([question.part for question in questions])
        parts = trainer.accelerator.gather(local[None]).cpu()
        widths = [question.part.numel() for question in questions]
        for question, part in zip(questions, parts.split(widths, dim=1), strict=True):
            value = question.formula(part.flatten()).item()
            trainer._metrics[mode][question.name].append(value)


class _Asking:
    """Stands in for the accelerator: a question to the other processes is noted, not asked."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._open: tuple[torch.Tensor, bool] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accelerator, name)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return self._note(tensor, summed=False)

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        if reduction != "sum" or tensor.shape != (2,):
            raise RuntimeError(_unknown(f"reduces a {tuple(tensor.shape)} tensor by {reduction}"))
        return self._note(tensor, summed=True)

    def take(self) -> tuple[torch.Tensor, bool] | None:
        """Return the question that the value to be logged comes from, and whether it was a sum."""
        found, self._open = self._open, None
        return found

    def check(self) -> None:
        if self._open is not None:
            raise RuntimeError(_unknown("asks the other processes for what it does not log"))

    def _note(self, tensor: torch.Tensor, summed: bool) -> torch.Tensor:
        self.check()
        self._open = tensor.detach().flatten(), summed
        # No answer yet: whatever is made of it says so. On the CPU, where reading it is free.
        return torch.full(tensor.shape or (1,), math.nan)


class _Named:
    """Stands in for the trainer's metrics: a value that is appended names the open question."""

    def __init__(self, metrics: Metrics, asking: _Asking) -> None:
        self._metrics, self._asking = metrics, asking
        self.questions: list[_Question] = []

    def __getitem__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(append=partial(self._append, name))

    def _append(self, name: str, value: float) -> None:
        match self._asking.take():
            case None:
                self._metrics[name].append(value)
            case part, True:
                self.questions.append(_Question(name, part, _ratio))
            case part, _:
                if name not in GATHERED:
                    raise RuntimeError(_unknown(f"gathers {name!r}"))
                self.questions.append(_Question(name, part, GATHERED[name]))


def _mode(trainer: Trainer) -> str:
    return "train" if trainer.model.training else "eval"


def _unknown(what: str) -> str:
    return (
        f"TRL's loss {what}: it is not the version whose metrics are known here; install "
        "trl>=1.16,<1.17, or leave its metrics to it (IterativeGRPOTrainer.defer_metrics = False)"
    )
