"""Supervised training of a policy on worked solutions, before the first iteration.

A policy made on the spot has to find right answers by chance before rewards can tell it anything.
Accuracy on held-out questions comes suddenly, at a step that differs from seed to seed; so that
accuracy decides when to stop, not a number of steps: the learning rates stay constant until it is
reached, then fall linearly to zero, and training ends.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iterative_grpo import timing
from iterative_grpo.context import positions

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WINDOW = 16
"""Batches sorted by length together, so that a batch's rows are of like length."""

_IGNORED = -100


@dataclass(frozen=True, slots=True)
class WarmStart:
    """How to train. The defaults are for the arithmetic task.

    Attributes:
        steps: optimizer steps at most, the falling ones included.
        batch: solutions in a step.
        learning_rate: AdamW's, for embeddings, gains and biases.
        muon_learning_rate: Muon's, for the hidden matrices.
        optimizer: `muon` (with AdamW, see `iterative_grpo.optimizers`) or `adamw` for all.
        rise_steps: over which the learning rates rise from zero.
        stop_at: validation accuracy from which the learning rates fall.
        fall_steps: over which they fall to zero; accuracy still gains much in them.
        validate_every: steps between validations.
        bf16: compute in bfloat16; None does so where the processor has it in hardware.
        seed: fixes the order of the solutions.
    """

    steps: int = 2_000
    batch: int = 32
    learning_rate: float = 3e-3
    muon_learning_rate: float = 0.005
    optimizer: str = "muon"
    rise_steps: int = 20
    stop_at: float = 0.5
    fall_steps: int = 250
    validate_every: int = 50
    max_grad_norm: float = 1.0
    bf16: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"warm start: {name} is {getattr(self, name)}, must be at least 1")
        if self.rise_steps < 0 or self.fall_steps < 0:
            raise ValueError("warm start: rise_steps and fall_steps must not be negative")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training is: `loss` is a running mean, `accuracy` the last validation's."""

    step: int
    steps: int
    loss: float
    accuracy: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class WarmStartResult:
    """What came out: `accuracy` is None without validation; `reached` says if it was `stop_at`."""

    steps: int
    seconds: float
    loss: float
    accuracy: float | None
    reached: bool
    history: tuple[Progress, ...]


class WarmStartFailed(RuntimeError):
    """The loss is no number any more."""


def warm_start(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    settings: WarmStart,
    validate: Callable[[], float] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> WarmStartResult:
    """Train `model` in place on (prompt, completion) pairs, with loss on completions and EOS alone.

    Args:
        model: a causal language model; it is left in evaluation mode.
        tokenizer: has an EOS token. Prompts get the special tokens that it adds, completions none.
        pairs: texts. They come again in another order when there are fewer than the steps need.
        settings: see `WarmStart`.
        validate: returns the model's accuracy on held-out questions; None trains all steps.
        progress: called after each validation, and every ten steps.

    Raises:
        ValueError: no pairs, or a pair longer than the model's context.
        WarmStartFailed: the loss is no number any more.
    """
    import torch

    from iterative_grpo import optimizers

    rows = _tokenize(model, tokenizer, pairs)
    optimizer = optimizers.build(
        model,
        kind=settings.optimizer,
        lr=settings.learning_rate,
        muon_lr=settings.muon_learning_rate,
    )
    full_rates = [group["lr"] for group in optimizer.param_groups]
    device = next(model.parameters()).device
    bf16 = settings.bf16
    if bf16 is None:
        bf16 = optimizers.fast_dtype(device) is torch.bfloat16
    batches = _batches(rows, settings.batch, random.Random(settings.seed))  # noqa: S311
    log = _Log(settings, progress)
    with _training(model, settings.seed):
        while log.step < log.last:
            for group, rate in zip(optimizer.param_groups, full_rates, strict=True):
                group["lr"] = rate * log.rate_factor()
            batch = next(batches)
            with timing.part("forward-backward", tokens=sum(len(row.ids) for row in batch)):
                ids_BT, targets_BT = _pad(batch, device)
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                    loss = _loss(model, ids_BT, targets_BT)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
            with timing.part("optimizer"):
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
                optimizer.step()
            log.stepped(loss.item())
            if validate is not None and log.validation_is_due():
                model.train(False)
                log.validated(validate())
                model.train()
    return log.result()


class _Log:
    """Counts steps, keeps the losses, and decides when the learning rates fall."""

    def __init__(self, settings: WarmStart, report: Callable[[Progress], None] | None) -> None:
        self._settings = settings
        self._report = report
        self._began = time.perf_counter()
        self._fall_from = max(0, settings.steps - settings.fall_steps)
        self._loss_sum, self._loss_weight = 0.0, 0.0
        self._accuracy: float | None = None
        self._reached = False
        self._history: list[Progress] = []
        self.step = 0
        self.last = settings.steps

    def rate_factor(self) -> float:
        """Return what the learning rates are multiplied by at this step, in (0, 1]."""
        rising = (self.step + 1) / max(1, self._settings.rise_steps)
        falling = (self.last - self.step) / max(1, self.last - self._fall_from)
        return min(1.0, rising, falling)

    def stepped(self, loss: float) -> None:
        """Count a step with its loss."""
        self.step += 1
        if not math.isfinite(loss):
            raise WarmStartFailed(
                f"the loss of warm-start step {self.step} is {loss}; lower the learning rates"
            )
        self._loss_sum = 0.95 * self._loss_sum + loss
        self._loss_weight = 0.95 * self._loss_weight + 1.0
        if self._report is not None and self.step % 10 == 0:
            self._report(self._now())

    def validation_is_due(self) -> bool:
        """Say whether to validate: every so many steps, rarely while falling, and at the end."""
        falling = self.step > self._fall_from
        return self.step == self.last or (
            not falling and self.step % self._settings.validate_every == 0
        )

    def validated(self, accuracy: float) -> None:
        """Take an accuracy; the first that is enough lets the learning rates fall."""
        self._accuracy = accuracy
        self._history.append(self._now())
        if not self._reached and accuracy >= self._settings.stop_at:
            self._reached = True
            if self.step < self._fall_from:
                self._fall_from = self.step
                self.last = self.step + self._settings.fall_steps
        if self._report is not None:
            self._report(self._now())

    def result(self) -> WarmStartResult:
        """Say what came out."""
        return WarmStartResult(
            steps=self.step,
            seconds=time.perf_counter() - self._began,
            loss=self._loss_sum / max(1.0, self._loss_weight),
            accuracy=self._accuracy,
            reached=self._reached,
            history=tuple(self._history),
        )

    def _now(self) -> Progress:
        return Progress(
            step=self.step,
            steps=self.last,
            loss=self._loss_sum / self._loss_weight,
            accuracy=self._accuracy,
            seconds=time.perf_counter() - self._began,
        )


@dataclass(frozen=True, slots=True)
class _Row:
    ids: tuple[int, ...]
    prompt: int


def _tokenize(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]
) -> list[_Row]:
    if not pairs:
        raise ValueError("warm start: no pairs of prompt and completion to learn from")
    prompts = tokenizer([prompt for prompt, _ in pairs])["input_ids"]
    completions = tokenizer([text for _, text in pairs], add_special_tokens=False)["input_ids"]
    context = positions(model.config)
    rows = []
    for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        row = _Row((*prompt, *completion, tokenizer.eos_token_id), len(prompt))
        if context is not None and len(row.ids) > context:
            raise ValueError(
                f"warm start: pair {number} has {len(row.ids)} tokens, more than the model's "
                f"context of {context}; leave it out or make a model with more context"
            )
        rows.append(row)
    return rows


def _batches(rows: Sequence[_Row], size: int, rng: random.Random) -> Iterator[list[_Row]]:
    """Yield batches without end: every row once before any comes again."""
    while True:
        order = list(rows)
        rng.shuffle(order)
        for start in range(0, len(order), size * _WINDOW):
            window = sorted(order[start : start + size * _WINDOW], key=lambda row: len(row.ids))
            batches = [window[i : i + size] for i in range(0, len(window), size)]
            rng.shuffle(batches)
            yield from batches


def _pad(batch: Sequence[_Row], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return token ids and targets (B, T), padded on the right.

    Padding needs no attention mask: a causal model's real tokens do not see what stands right of
    them. Its ids are 0, which every vocabulary has; its targets are ignored.
    """
    import torch

    longest = max(len(row.ids) for row in batch)
    ids, targets = [], []
    for row in batch:
        padding = longest - len(row.ids)
        ids.append([*row.ids, *[0] * padding])
        targets.append([_IGNORED] * row.prompt + [*row.ids[row.prompt :], *[_IGNORED] * padding])
    return torch.tensor(ids, device=device), torch.tensor(targets, device=device)


def _loss(model: PreTrainedModel, ids_BT: Tensor, targets_BT: Tensor) -> Tensor:
    """Return the mean cross-entropy of the targets, each predicted from the tokens before it."""
    import torch

    first = int((targets_BT != _IGNORED).any(dim=0).float().argmax())
    kept = ids_BT.shape[1] - first + 1
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        logits_BTV = model(input_ids=ids_BT, use_cache=False, logits_to_keep=kept).logits
    else:
        logits_BTV = model(input_ids=ids_BT, use_cache=False).logits[:, -kept:]
    return torch.nn.functional.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1).float(), targets_BT[:, first:].flatten()
    )


@contextlib.contextmanager
def _training(model: PreTrainedModel, seed: int) -> Iterator[None]:
    """Training mode with seeded dropout; afterwards evaluation mode and the caller's generators.

    On CPUs with plain attention: the backward pass of torch's fused one is several times slower
    there in bfloat16.
    """
    import torch

    attention = model.config._attn_implementation
    plain = next(model.parameters()).device.type == "cpu" and attention == "sdpa"
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        model.train()
        if plain:
            model.set_attn_implementation("eager")
        try:
            yield
        finally:
            model.train(False)
            if plain:
                model.set_attn_implementation(attention)
