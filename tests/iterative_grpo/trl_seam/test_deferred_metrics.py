"""Metrics of losses and generations against TRL's own way: the same values, fewer collectives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.iterative_grpo.metrics_on_ranks import ACCUMULATION, CASES, STEPS
from tests.iterative_grpo.ranks import launch
from tests.iterative_grpo.test_trainer import generation, make

PolicyMaker = Callable[[int, torch.dtype], Path]

LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo")
"""All that TRL 1.16 has."""


class Pair:
    """Two processes as the first one sees them: the second's numbers are made of the first's."""

    num_processes = 2

    def __init__(self, accelerator: Any) -> None:
        self.accelerator = accelerator
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.accelerator, name)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        one = tensor if tensor.dim() else tensor[None]
        return torch.cat([one, one / 4 + 1])

    def reduce(self, tensor: torch.Tensor, reduction: str) -> torch.Tensor:
        assert reduction == "sum"
        self.asked += 1
        return tensor + (tensor / 4 + 1)


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", LOSSES)
def test_every_loss_logs_what_it_logs_in_trl(
    loss_type: str, level: str, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    settings = {"loss_type": loss_type, "importance_sampling_level": level, "entropy_coef": 0.01}
    trainer = make(tiny_policy(0, torch.float32), tmp_path, **settings)
    batch = generation(trainer)
    # Ratios that are clipped on both sides, and a row without tokens.
    batch["old_per_token_logps"] = -4 * torch.rand_like(batch["ref_per_token_logps"])
    batch["completion_mask"][3] = 0
    trainer.current_gradient_accumulation_steps = 1
    results = {}
    for defer in (False, True):
        trainer.defer_metrics = defer
        trainer.accelerator = pair = Pair(trainer.accelerator)
        trainer._metrics["train"].clear()
        losses = [float(trainer._compute_loss(trainer.model, batch).detach()) for _ in range(2)]
        assert trainer.accelerator is pair
        assert pair.asked == (0 if defer else pair.asked)
        trainer._deferred.merge(trainer)
        results[defer] = losses, dict(trainer._metrics["train"]), pair.asked
        trainer.accelerator = pair.accelerator
    (losses, theirs, many), (deferred_losses, ours, once) = results[False], results[True]
    assert losses == deferred_losses
    assert set(ours) == set(theirs) >= {"kl", "entropy", "policy_loss", "entropy_coef"}
    for name, values in theirs.items():
        assert len(values) == 2
        assert ours[name] == pytest.approx(values, rel=1e-6, nan_ok=True), name
    assert once == 1 < many


def test_the_loss_of_one_process_asks_for_no_value_before_the_log(
    tiny_policy: PolicyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each value is one that Python would wait for a GPU for, with the backward pass still to come.
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    batch = generation(trainer)
    trainer.current_gradient_accumulation_steps = 1
    asked = []
    item = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda x: asked.append(x) or item(x))
    values = {}
    for defer, expected in ((False, 7), (True, 0)):
        trainer.defer_metrics = defer
        asked.clear()
        trainer._metrics["train"].clear()
        trainer._compute_loss(trainer.model, batch)
        # What is kept answers with a NaN on the CPU.
        assert sum(not x.isnan() for x in asked) == expected
        trainer._deferred.merge(trainer)
        values[defer] = {name: list(found) for name, found in trainer._metrics["train"].items()}
    assert values[True] == values[False]


def test_a_micro_batch_of_masked_outputs_is_in_no_mean(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    batch = generation(trainer)
    masked = {**batch, "completion_mask": torch.zeros_like(batch["completion_mask"])}
    trainer.current_gradient_accumulation_steps = 1
    logged = {}
    for parts in ([batch], [batch, masked], [masked]):
        for part in parts:
            trainer._compute_loss(trainer.model, part)
        trainer.log({"loss": 0.0})
        logged[len(logged)] = trainer.state.log_history[-1]
    for name in ("kl", "entropy", "clip_ratio/region_mean"):
        assert logged[0][name] == logged[1][name]
        assert logged[2][name] is None


def test_a_loss_that_fails_leaves_nothing_behind(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    trainer.accelerator = pair = Pair(trainer.accelerator)
    trainer.model.train()
    metrics = trainer._metrics["train"]

    def loss() -> None:
        value = trainer.accelerator.reduce(torch.ones(2), reduction="sum")
        trainer._metrics["train"]["kl"].append(value[0].item())
        raise ValueError("out of memory")

    with pytest.raises(ValueError, match="out of memory"), trainer._deferred.keeping(trainer):
        loss()
    assert trainer.accelerator is pair
    assert trainer._metrics["train"] is metrics
    trainer._deferred.merge(trainer)
    assert pair.asked == 0
    assert not metrics


@pytest.mark.parametrize(
    ("name", "value"), [("use_adaptive_entropy", True), ("top_entropy_quantile", 0.5)]
)
def test_what_the_loss_itself_needs_is_asked_at_once(
    name: str, value: Any, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    trainer.accelerator = pair = Pair(trainer.accelerator)
    setattr(trainer, name, value)
    with trainer._deferred.keeping(trainer):
        assert trainer.accelerator is pair


def test_what_a_loss_may_not_defer_is_named(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    trainer.accelerator = Pair(trainer.accelerator)
    trainer.model.train()

    def gathers_for_itself() -> None:
        trainer.accelerator.gather(torch.ones(3))

    def gathers_what_nobody_knows() -> None:
        trainer._metrics["train"]["new"].append(trainer.accelerator.gather(torch.ones(3)).sum())

    def averages() -> None:
        trainer.accelerator.reduce(torch.ones(2), reduction="mean")

    def sums_three() -> None:
        trainer.accelerator.reduce(torch.ones(3), reduction="sum")

    for loss, said in (
        (gathers_for_itself, "what it does not log"),
        (gathers_what_nobody_knows, "gathers 'new'"),
        (averages, "by mean"),
        (sums_three, r"reduces a \(3,\) tensor by sum"),
    ):
        with pytest.raises(RuntimeError, match=said), trainer._deferred.keeping(trainer):
            loss()


@pytest.mark.slow
def test_two_processes_log_the_same_from_fewer_collectives(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    launch("metrics_on_ranks", 2, tmp_path, tiny_policy(0, torch.float32), tmp_path)
    first, second = (
        json.loads((tmp_path / f"results-{rank}.json").read_text(encoding="utf-8"))
        for rank in range(2)
    )
    for case in CASES:
        theirs, ours = (
            [row for row in first[f"{case}: {way}"]["logs"] if "kl" in row or "eval_kl" in row]
            for way in ("TRL", "deferred")
        )
        for their_row, our_row in zip(theirs, ours, strict=True):
            assert steady(our_row) == pytest.approx(steady(their_row), rel=1e-6), case
        # What callbacks read off the log, such as the KL, is the same on every process.
        elsewhere = [row["kl"] for row in second[f"{case}: deferred"]["logs"] if "kl" in row]
        assert elsewhere == [row["kl"] for row in ours if "kl" in row]
    logged = [row for row in first["grpo: deferred"]["logs"] if "kl" in row]
    assert len(logged) == STEPS
    assert logged[-1]["clip_ratio/low_mean"] > 0
    assert any("eval_kl" in row for row in first["grpo: deferred"]["logs"])

    # The second step trains on the outputs of the first: one generation, STEPS logs.
    micro_batches = STEPS * ACCUMULATION
    anyway = {
        "grpo_trainer._generate_and_score_completions": 1,  # tokens, which some losses divide by
        "trainer._calculate_rewards": 1,  # rewards, which credit compares over processes
        "trainer._maybe_log_save_evaluate": STEPS,  # the loss, for transformers' log
        "trainer.store_flos": STEPS + 1,  # transformers' count of operations
    }
    of_metrics = {
        "grpo_trainer.global_masked_mean": 5 * micro_batches,
        "grpo_trainer._compute_loss": 2 * micro_batches,
        "grpo_trainer._generate": 3,
    }
    theirs, ours = (first[f"grpo: {way}"]["collectives"] for way in ("TRL", "deferred"))
    assert ours == anyway | {"deferred_metrics.merge": STEPS}
    # Texts of prompts and outputs, names of two kinds of users' metrics.
    anyway["grpo_trainer._generate_and_score_completions"] += 4
    assert theirs == anyway | of_metrics
    assert first["every second step: deferred"]["collectives"]["deferred_metrics.merge"] == 1


def steady(row: dict[str, Any]) -> dict[str, Any]:
    """Return what does not measure time."""
    return {
        name: value
        for name, value in row.items()
        if not any(word in name for word in ("time", "speed", "per_second"))
    }
