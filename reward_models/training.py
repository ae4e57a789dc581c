"""One training loop for outcome and process reward models."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from iterative_grpo import plugins, timing
from reward_models.encoding import Encoded
from reward_models.examples import Examples, OneClass
from reward_models.types import LabeledSolution

if TYPE_CHECKING:
    import torch

    from reward_models.model import RewardModel

LOSSES = "reward_models.losses"

PIECE = 4_096
"""Positions that are computed at once for a gradient, if no single text has more: a model of 1.5 B
parameters keeps some 6 MB a position, and batches of long texts would not fit a GPU."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a reward model is trained.

    `optimizer` is "adamw", or "muon" with `muon_learning_rate` on hidden matrices and AdamW with
    `learning_rate` on the rest. Rates warm up over the first `warmup` of the steps and fall
    linearly to zero over the last `decay` of them. With held-out rows, their loss is measured
    `evaluations` times an epoch; training stops after `patience` measurements without a new best,
    and the best weights are kept. `balance` "classes" lets right and wrong ends weigh the same,
    "none" leaves them as found. `bf16` multiplies in bfloat16, by autocast: weights, loss and
    optimizer stay in the precision of the weights.
    """

    learning_rate: float = 1e-3
    optimizer: str = "adamw"
    muon_learning_rate: float = 0.02
    epochs: int = 1
    batch_size: int = 32
    loss: str = "bce"
    warmup: float = 0.05
    decay: float = 0.5
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    evaluations: int = 1
    patience: int = 2
    balance: str = "none"
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if not self.learning_rate > 0:
            wrong.append(f"learning_rate is {self.learning_rate}, must be above 0")
        for name in ("epochs", "batch_size", "evaluations", "patience"):
            if getattr(self, name) < 1:
                wrong.append(f"{name} is {getattr(self, name)}, must be at least 1")
        if not (0 <= self.warmup <= 1 and 0 <= self.decay <= 1 and self.warmup + self.decay <= 1):
            wrong.append(
                f"warmup {self.warmup} and decay {self.decay} are shares of the steps and must "
                "add up to at most 1"
            )
        if self.balance not in ("none", "classes"):
            wrong.append(f"balance is {self.balance!r}, must be 'none' or 'classes'")
        if wrong:
            raise ValueError("reward-model training: " + "; ".join(wrong))
        plugins.check(LOSSES, self.loss, "reward-model loss")


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """What the progress callback gets after each step; `loss` is this process's."""

    step: int
    steps: int
    epoch: int
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What was trained on and how it went.

    `positive_share` is the share of solutions whose last label is at least one half, `mean_label`
    the mean over all ends. `losses` are the epochs' mean training losses, this process's;
    `heldout_losses` the measurements, the first before any step. `kept_step` is the step whose
    weights were kept. `padding` is the share of positions computed that were padding.
    """

    rows: int
    ends: int
    positive_share: float
    mean_label: float
    steps: int
    kept_step: int
    stopped_early: bool
    losses: tuple[float, ...]
    heldout_losses: tuple[float, ...]
    padding: float
    seconds: float


def train(
    model: RewardModel,
    rows: Sequence[LabeledSolution],
    *,
    settings: TrainingSettings,
    heldout: Sequence[LabeledSolution] = (),
    accelerator: Any | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
) -> TrainingReport:
    """Train `model` in place, with an optimizer of its own, and report.

    With an accelerate `Accelerator`, each process takes its share of every batch. If that shards
    the model (FSDP), the first process has the whole one afterwards, and the others none. Raises
    `OneClass` when there is nothing to tell apart; what cannot be encoded is refused before the
    first step.
    """
    loss = plugins.find(LOSSES, settings.loss, "reward-model loss")
    data = Examples(model, rows, loss)
    held = Examples(model, heldout, loss) if heldout else None
    data.require_two_classes()
    return _Fit(model, data, held, settings, accelerator, progress).run()


class _Fit:
    """One run of the loop: model, optimizer, schedule, and the best weights so far."""

    def __init__(
        self,
        model: RewardModel,
        data: Examples,
        held: Examples | None,
        settings: TrainingSettings,
        accelerator: Any | None,
        progress: Callable[[TrainingProgress], None] | None,
    ) -> None:
        from iterative_grpo import optimizers
        from iterative_grpo.sharding import Sharding, is_shard

        self.owner = model
        self.data, self.held, self.settings = data, held, settings
        self.accelerator, self.progress = accelerator, progress
        self.rank = accelerator.process_index if accelerator else 0
        self.world = accelerator.num_processes if accelerator else 1
        # Pairs stay on one process: items, not rows, are shared out.
        self.arity = len(
            data.loss.items(data.labels, data.problem_ids, np.random.default_rng(0))[0]
        )
        self.model: Any = model.model
        self.device = model.model.device
        self.optimizer: Any = optimizers.build(
            model.model,
            kind=settings.optimizer,
            lr=settings.learning_rate,
            muon_lr=settings.muon_learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.sharding = Sharding(accelerator, self.model) if accelerator else None
        if accelerator:
            self.model, self.optimizer = accelerator.prepare(self.model, self.optimizer)
        self.sharded = any(is_shard(parameter) for parameter in self.trained())
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.weights = data.weights(model.heads, settings.balance, settings.seed)
        self.held_weights = (
            held.weights(1, settings.balance, settings.seed) * model.heads if held else []
        )
        self.real = self.computed = 0
        self.heldout_losses: list[float] = []
        self.kept: list[torch.Tensor] = []
        self.kept_step = 0

    def run(self) -> TrainingReport:
        """Train all epochs, or until the held-out loss stops falling."""
        import torch

        started = time.perf_counter()
        generator = np.random.default_rng(self.settings.seed)
        epochs = [
            self.data.batches(self.settings.batch_size, generator)
            for _ in range(self.settings.epochs)
        ]
        steps = sum(len(batches) for batches in epochs)
        self.measure(step=0)
        losses = []
        step = 0
        stopped = False
        self.model.train()
        for epoch, batches in enumerate(epochs, start=1):
            gap = math.ceil(len(batches) / self.settings.evaluations)
            sums = 0.0
            for number, batch in enumerate(batches, start=1):
                rate = self.set_rate(step, steps)
                with timing.part("forward-backward"):  # letting go of the graph takes time, too
                    loss = self.step(batch)
                sums += loss
                step += 1
                if self.progress and self.rank == 0:
                    seconds = time.perf_counter() - started
                    self.progress(TrainingProgress(step, steps, epoch, loss, rate, seconds))
                if number % gap == 0 or number == len(batches):
                    stopped = self.measure(step)
                    if stopped:
                        break
            losses.append(sums / number)
            if stopped:
                break
        if self.held:
            with torch.no_grad():
                for weight, kept in zip(self.trained(), self.kept, strict=True):
                    weight.copy_(kept)
        else:
            self.kept_step = step
        if self.sharding:
            self.owner.model = self.sharding.whole()
        if self.owner.model is not None:
            self.owner.model.to(self.device).eval()
        return self.report(step, stopped, losses, time.perf_counter() - started)

    def trained(self) -> list[torch.nn.Parameter]:
        """Return what the optimizer changes, always in the same order.

        FSDP leaves a model's tail gathered behind a forward pass: what is written to that is lost.
        """
        from torch.distributed.fsdp import FSDPModule

        for module in self.owner.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        return [weight for weight in self.owner.model.parameters() if weight.requires_grad]

    def set_rate(self, step: int, steps: int) -> float:
        """Set the learning rate of this step: linear warm-up, constant, linear decay."""
        warm, cool = self.settings.warmup * steps, self.settings.decay * steps
        factor = min(1.0, (step + 1) / max(warm, 1.0), (steps - step) / max(cool, 1.0))
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        return self.settings.learning_rate * factor

    def step(self, batch: list[int]) -> float:
        """Take one optimizer step; return this process's share of the batch's loss."""
        import torch

        with timing.part("forward-backward") as spent:
            read = self.real
            rows, share = self.mine(batch)
            # Sums over the whole batch, so that gradients are those of one pass.
            pieces = list(self.data.joined(rows, PIECE))
            value = torch.zeros((), device=self.device)
            for piece in self.together(pieces):
                parts = self.forward(self.data, self.weights, batch, piece or pieces[0])
                # Processes' gradients are averaged: times the world they sum over the whole batch.
                # A head whose problems were not drawn in this batch has no weight, learns nothing.
                losses = [total * (self.world / weight) for total, weight in parts if weight]
                loss: Any = sum(losses) / len(parts) if losses else 0 * parts[0][0]
                loss = loss * (share if piece else 0.0)
                value += loss.detach()
                if self.accelerator:
                    self.accelerator.backward(loss)
                else:
                    loss.backward()
            spent.tokens += self.real - read
        with timing.part("optimizer"):
            clip = (self.accelerator or torch.nn.utils).clip_grad_norm_
            clip(self.model.parameters(), self.settings.max_grad_norm)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        found = float(value)
        if not math.isfinite(found):
            raise FloatingPointError(
                f"the reward model's training loss is {found}; lower learning_rate "
                f"({self.settings.learning_rate}) or train in float32"
            )
        return found

    def mine(self, batch: list[int]) -> tuple[list[list[int]], float]:
        """Return the items of a batch that this process reads, and how they count.

        A process without an item still takes part in the gradient's sum, with nothing.
        """
        items = [batch[at : at + self.arity] for at in range(0, len(batch), self.arity)]
        return items[self.rank :: self.world] or [items[0]], float(self.rank < len(items))

    def together(self, pieces: list[list[int]]) -> Iterator[list[int]]:
        """Yield pieces; processes exchange the gradients of whole models at the last one.

        Shards are exchanged at each, by all processes: those with fewer pieces get empty ones.
        """
        from iterative_grpo.sharding import largest

        if self.accelerator is None:
            yield from pieces
        elif self.sharded:
            missing = largest(self.accelerator, len(pieces)) - len(pieces)
            yield from [*pieces, *[[]] * missing]
        else:
            with self.accelerator.no_sync(self.model):
                yield from pieces[:-1]
            yield pieces[-1]

    def forward(
        self, data: Examples, weights: list[list[list[float]]], batch: list[int], rows: list[int]
    ) -> list[tuple[torch.Tensor, float]]:
        """Return for each head the loss sum of some rows, and the weight of the whole batch."""
        import torch

        encoded = [data.encoded[row] for row in rows]
        self.count(encoded)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.settings.bf16):
            logits_NH = self.owner.read(self.model, encoded).float()
        labels_N = torch.tensor([x for r in rows for x in data.labels[r]], device=logits_NH.device)
        sizes = [len(data.labels[row]) for row in rows]
        whole_sizes = [len(data.labels[row]) for row in batch]
        parts = []
        for logits_N, by_row in zip(logits_NH.unbind(1), weights, strict=True):
            weights_N = torch.tensor([x for r in rows for x in by_row[r]], device=labels_N.device)
            total = data.loss.total(logits_N, labels_N, sizes, weights_N)
            whole_N = torch.tensor([x for r in batch for x in by_row[r]])
            parts.append((total, data.loss.weight(whole_sizes, whole_N)))
        return parts

    def count(self, encoded: list[Encoded]) -> None:
        """Keep the tokens read and the positions computed."""
        lengths = [len(row.token_ids) for row in encoded]
        self.real += sum(lengths)
        self.computed += max(lengths) * len(lengths)

    def measure(self, step: int) -> bool:
        """Measure the held-out loss, keep the best weights; return whether it is time to stop."""
        import torch

        from reward_models.model import TOKENS_PER_BATCH

        if not self.held:
            return False
        batches = self.held.batches(
            self.settings.batch_size, np.random.default_rng(self.settings.seed)
        )
        if not batches:
            raise OneClass(
                f"the {len(self.held.rows)} held-out rows hold no pair of a right and a wrong "
                "solution; hold out more problems or take loss 'bce'"
            )
        self.model.eval()
        total, weight = 0.0, 0.0
        trained_on = self.real, self.computed
        with torch.no_grad(), timing.part("score") as spent:
            # Nothing is kept for a gradient, so that passes may be larger.
            for batch in self.held.joined(batches, TOKENS_PER_BATCH):
                items, share = self.mine(batch)
                rows = [row for item in items for row in item]
                parts = self.forward(self.held, self.held_weights, batch, rows)
                total += share * math.fsum(float(part) for part, _ in parts)
                weight += math.fsum(part for _, part in parts)
            spent.tokens += self.real - trained_on[0]
        # The report's padding is that of training.
        self.real, self.computed = trained_on
        self.model.train()
        if self.accelerator:
            # On the device: NCCL reduces nothing else.
            mine = torch.tensor(total, device=self.accelerator.device)
            total = float(self.accelerator.reduce(mine, reduction="sum"))
        self.heldout_losses.append(total / weight)
        if self.heldout_losses[-1] <= min(self.heldout_losses):
            self.kept_step = step
            # Of what lies whole on a GPU, in main memory: the optimizer's moments take the room.
            place = None if self.sharded else "cpu"
            self.kept = [it.detach().to(place, copy=True) for it in self.trained()]
        best = self.heldout_losses.index(min(self.heldout_losses))
        return len(self.heldout_losses) - 1 - best >= self.settings.patience

    def report(
        self, steps: int, stopped: bool, losses: list[float], seconds: float
    ) -> TrainingReport:
        """Sum up."""
        ends = sum(len(labels) for labels in self.data.labels)
        return TrainingReport(
            rows=len(self.data.rows),
            ends=ends,
            positive_share=sum(row.positive for row in self.data.rows) / len(self.data.rows),
            mean_label=math.fsum(label for labels in self.data.labels for label in labels) / ends,
            steps=steps,
            kept_step=self.kept_step,
            stopped_early=stopped,
            losses=tuple(losses),
            heldout_losses=tuple(self.heldout_losses),
            padding=1 - self.real / self.computed,
            seconds=seconds,
        )
