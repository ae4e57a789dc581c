"""TRL's metrics of a generation, from what the processes exchange for credit anyway.

TRL 1.16 asks the other processes for the lengths of prompts and outputs and for truncation, and for
all texts and the names of a user's metrics: three collectives of tensors and four of objects a
generation. Nothing but the log and the table of completions hangs on them. Here TRL sees its own
process alone; lengths travel with the rewards, and the metrics of all processes replace those of
the one. Texts of other processes are not fetched where no table is asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

import torch
from trl.trainer import grpo_trainer


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of each row's prompt and output, and whether the output lacks its EOS."""

    prompts: list[int]
    outputs: list[int]
    truncated: list[bool]

    @classmethod
    def together(cls, parts: Iterable[Lengths]) -> Lengths:
        """Return those of all processes."""
        whole = cls([], [], [])
        for part in parts:
            whole.prompts.extend(part.prompts)
            whole.outputs.extend(part.outputs)
            whole.truncated.extend(part.truncated)
        return whole

    @property
    def tokens(self) -> int:
        """All tokens, of prompts and outputs."""
        return sum(self.prompts) + sum(self.outputs)

    def figures(self) -> dict[str, float]:
        """Return what TRL logs of them; without a terminated output its lengths are 0, as there."""
        ended = [n for n, cut in zip(self.outputs, self.truncated, strict=True) if not cut] or [0]
        return {
            "completions/mean_length": fmean(self.outputs),
            "completions/min_length": float(min(self.outputs)),
            "completions/max_length": float(max(self.outputs)),
            "completions/clipped_ratio": fmean(self.truncated),
            "completions/mean_terminated_length": fmean(ended),
            "completions/min_terminated_length": float(min(ended)),
            "completions/max_terminated_length": float(max(ended)),
        }


class Trainer(Protocol):
    """What is used of TRL's trainer."""

    accelerator: Any
    defer_metrics: bool
    log_completions: bool
    model: Any
    state: Any
    _metrics: dict[str, Any]


class GenerationMetrics:
    """Lets TRL see its own process alone, and corrects what it logs. Idle with one process."""

    def __init__(self) -> None:
        self.own: Lengths | None = None
        """This process's lengths, from the sampling on; None where TRL asks for all itself."""

    @contextlib.contextmanager
    def alone(self, trainer: Trainer) -> Iterator[None]:
        """Sample inside: what TRL gathers there is kept as this process's lengths.

        Raises:
            RuntimeError: TRL gathered something else.
        """
        self.own = None
        if not _deferred(trainer):
            yield
            return
        accelerator = trainer.accelerator
        trainer.accelerator = own = _Own(accelerator)
        try:
            yield
        finally:
            trainer.accelerator = accelerator
        self.own = own.lengths()

    @contextlib.contextmanager
    def own_texts(self, trainer: Trainer) -> Iterator[None]:
        """Generate inside: TRL keeps this process's texts, unless its table wants all of them."""
        if not _deferred(trainer) or trainer.log_completions:
            yield
            return
        gather_object = grpo_trainer.gather_object
        grpo_trainer.gather_object = lambda rows: rows
        try:
            yield
        finally:
            grpo_trainer.gather_object = gather_object

    def correct(self, trainer: Trainer, parts: Iterable[Lengths | None]) -> None:
        """Put the metrics of all processes' lengths in place of this process's."""
        if self.own is None:
            return
        whole = Lengths.together(part for part in parts if part is not None)
        mode = "train" if trainer.model.training else "eval"
        metrics = trainer._metrics[mode]
        for name, value in whole.figures().items():
            metrics[name][-1] = value
        if mode == "train":
            trainer.state.num_input_tokens_seen += whole.tokens - self.own.tokens
        metrics["num_tokens"] = [trainer.state.num_input_tokens_seen]


class _Own:
    """Stands in for the accelerator: notes what is gathered, and gives it back as it is."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self._gathered: list[torch.Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accelerator, name)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        self._gathered.append(tensor)
        return tensor

    def lengths(self) -> Lengths:
        """Return this process's lengths, which are what TRL gathers."""
        kinds = [(tensor.dim(), tensor.dtype == torch.bool) for tensor in self._gathered]
        if kinds != [(1, False), (1, False), (1, True)]:
            raise RuntimeError(
                f"TRL gathers {len(kinds)} tensors after sampling, where 1.16 gathers lengths of "
                "prompts, lengths of outputs and truncation; install trl>=1.16,<1.17, or leave "
                "its metrics to it (IterativeGRPOTrainer.defer_metrics = False)"
            )
        return Lengths(*(tensor.tolist() for tensor in self._gathered))


def _deferred(trainer: Trainer) -> bool:
    return trainer.defer_metrics and trainer.accelerator.num_processes > 1
