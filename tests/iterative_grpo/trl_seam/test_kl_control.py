"""The controller against the source's two lines, in closed loop, and across a resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from iterative_grpo.trl_seam.kl_control import AdaptiveKL, KLControl
from tests.iterative_grpo.test_trainer import make

PolicyMaker = Callable[[int, torch.dtype], Path]


def test_it_is_the_sources_formula() -> None:
    control = KLControl(0.01)
    for beta, kl in ((0.04, 0.0), (0.04, 0.0095), (0.5, 0.0105), (0.5, 3.0)):
        error = float(np.clip((kl - 0.01) / 0.01, -0.2, 0.2))
        assert control.next(beta, kl) == pytest.approx(beta * (1 + 0.1 * error), rel=1e-12)


def test_it_holds_the_target_of_a_policy_that_yields_to_it() -> None:
    """A policy whose KL is 0.002 / beta: the coefficient goes to 0.2, from either side."""
    control = KLControl(0.01)
    for beta in (0.04, 2.0):
        for _ in range(300):
            beta = control.next(beta, 0.002 / beta)
        assert beta == pytest.approx(0.2, rel=0.01)


def test_what_cannot_work_is_refused(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="KL target is 0"):
        KLControl(0.0)
    with pytest.raises(ValueError, match="must start above 0"):
        make(tiny_policy(0, torch.float32), tmp_path, beta=0.0, kl_control=KLControl(0.01))


def test_the_loss_takes_the_coefficient_that_the_log_shows_and_a_resume_goes_on(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    control = KLControl(0.01)
    more = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "logging_steps": 1}
    policy = tiny_policy(0, torch.float32)
    unbroken = make(policy, tmp_path / "a", kl_control=control, **more)
    unbroken.train()
    steps = [row for row in unbroken.state.log_history if "kl" in row]
    beta = 0.04
    for row in steps:
        assert row["beta"] == pytest.approx(beta, rel=1e-12)
        beta = control.next(beta, row["kl"])
    assert unbroken.beta == pytest.approx(beta, rel=1e-12)
    assert len({row["beta"] for row in steps}) == 4

    resumed = make(policy, tmp_path / "b", kl_control=control, **more)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "out" / "checkpoint-2"))
    assert resumed.beta == unbroken.beta
    for a, b in zip(unbroken.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_fixed_coefficient_is_logged_too(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path, logging_steps=1)
    trainer.train()
    rows = [row["beta"] for row in trainer.state.log_history if "loss" in row]
    assert rows == [0.04, 0.04]
    assert not any("beta" in row for row in trainer.state.log_history if "loss" not in row)
    assert isinstance(trainer.callback_handler.callbacks, list)
    assert not any(isinstance(c, AdaptiveKL) for c in trainer.callback_handler.callbacks)
