"""Reward models with a known fault, trained against: the watch and the health figures show it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import PrinterCallback

from iterative_grpo.rollouts import Rollout
from iterative_grpo.splitters.whole import Splitter
from iterative_grpo.types import Completion, Problem, StepRewards
from pipelines.config import RetrainWhen, WatchSettings
from pipelines.watching import Watching
from tests.iterative_grpo.test_trainer import make

PolicyMaker = Callable[[int, torch.dtype], Path]


class Faulty:
    """A reward model that scores a text by what has nothing to do with being right."""

    def __init__(self, score: Callable[[str], float]) -> None:
        self._score = score

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        rewards = []
        for completion in completions:
            value = (self._score(completion.text),)
            ends = Splitter().split(completion.text)
            rewards.append(StepRewards(ends, value, {"model": value}))
        return rewards


def words(text: str) -> float:
    """Loves length, in words."""
    return min(1.0, len(text.split()) / 4)


def repeats(text: str) -> float:
    """Loves repetition: the share of characters that equal the one before."""
    return sum(a == b for a, b in itertools.pairwise(text)) / max(len(text) - 1, 1)


def every_other(problems: Sequence[Problem], completions: Sequence[Completion]) -> list[bool]:
    """A truth that no fault can reach: half of the outputs are right whatever they say."""
    return [completion.sample % 2 == 0 for completion in completions]


@pytest.mark.parametrize("fault", [words, repeats])
def test_the_watch_catches_a_policy_that_games_its_judge(
    fault: Callable[[str], float],
    tiny_policy: PolicyMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Untrained, this policy hardly ever ends an output: the limit ends nearly all of them.
    monkeypatch.setattr(Rollout, "right", property(lambda rollout: rollout.correct))
    trainer = make(
        tiny_policy(0, torch.float32),
        tmp_path,
        max_steps=20,
        learning_rate=3e-2,
        beta=0.0,
        logging_steps=1,
    )
    trainer.remove_callback(PrinterCallback)
    trainer._source, trainer._truth = Faulty(fault), every_other
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    by_gap = Watching(WatchSettings(retrain_when=RetrainWhen(pair_accuracy=None)))
    by_pairs = Watching(WatchSettings(retrain_when=RetrainWhen(gap=None)))
    for row in rows:
        by_gap.see(row)
        by_pairs.see(row)
    gaps = [round(row["gap"], 2) for row in rows]
    assert "gap between score and accuracy has grown" in str(by_gap.reason), gaps
    assert "pair accuracy within groups" in str(by_pairs.reason)
    assert rows[-1]["liked_wrong"] > rows[0]["liked_wrong"] + 0.2
