"""The check before the policy phase: what it writes, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import building, launching, segmentation, verifying
from pipelines.artifacts import Artifact
from pipelines.config import Config, Segmentation
from pipelines.phases import sample, start
from pipelines.progress import Progress
from pipelines.runs import Job, Run
from pipelines.segmentation import MovesWithTheCut
from pipelines.world import World
from reward_models.model import RewardModel
from reward_models.protocols import Parts
from reward_models.published import math_shepherd
from reward_models.segmentation import Shift
from tests.pipelines import toy
from tests.reward_models.published.test_conventions import policy, tokenizer


def shift(cut: str, *, reward: float = 0.0, flipped: float = 0.0) -> Shift:
    return Shift(cut, 10, reward, reward, 0.5, 0.5, flipped)


def test_the_worst_cut_is_refused_by_what_it_does() -> None:
    limits = Segmentation()
    segmentation.refuse([shift("merged", reward=0.02, flipped=0.7), shift("whole")], limits)
    with pytest.raises(MovesWithTheCut, match=r"move by 0\.300 on average when each step is cut"):
        segmentation.refuse([shift("merged", reward=0.1), shift("split", reward=0.3)], limits)
    with pytest.raises(MovesWithTheCut, match="turns its sign in 80% of the outputs when the text"):
        segmentation.refuse([shift("merged"), shift("whole", flipped=0.8)], limits)
    loose = Segmentation(reward_limit=1, flip_limit=1)
    segmentation.refuse([shift("whole", reward=0.9, flipped=1.0)], loose)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A policy phase that is about to begin, with stored samples."""
    folder = tmp_path_factory.mktemp("run")
    config = toy.config(folder, toy.write_data(folder / "data"), "supervision=process")
    with Run(config, Progress(quiet=True), launching.inline) as run:
        begun = run.do(start.PHASE, 0)
        samples: Artifact = run.do(sample.PHASE, 1, policy=begun)
    output = folder / "optimize"
    output.mkdir()
    inputs = {"policy": begun.path, "samples": samples.path}
    return Job("optimize", 1, config, inputs, output, Progress(quiet=True))


def parts(config: Config, model: Any) -> Parts:
    return Parts(building.splitter(config), verifying.verifier(config), model=model)


def test_a_model_read_at_marked_ends_passes(job: Job) -> None:
    model = RewardModel.from_shape(job.inputs["policy"] / "policy")
    segmentation.check(job, parts(job.config, model), World())
    written = json.loads((job.output / "segmentation.json").read_text(encoding="utf-8"))
    assert list(written) == ["merged", "split", "whole"]
    assert all(figures["reward_max"] == pytest.approx(0, abs=1e-4) for figures in written.values())
    # 64 outputs have a last end each, and one end more where a step was split off.
    assert written["whole"]["ends"] == 64 <= written["split"]["ends"]


def test_a_model_that_reads_separators_is_refused(job: Job, tmp_path: Path) -> None:
    policy(tmp_path, tokenizer("ки"))
    judge = math_shepherd.load(str(tmp_path))
    with torch.no_grad():
        for weights in judge.model.model.layers.parameters():
            weights.mul_(8)
    with pytest.raises(MovesWithTheCut, match="supervision=outcome"):
        segmentation.check(job, parts(job.config, judge), World())


def test_outcome_supervision_has_nothing_to_check(job: Job, tmp_path: Path) -> None:
    outcome = job.config.model_copy(update={"supervision": "outcome"})
    model = RewardModel.from_shape(job.inputs["policy"] / "policy")
    other = replace(job, config=outcome, output=tmp_path)
    segmentation.check(other, parts(outcome, model), World())
    assert not list(tmp_path.iterdir())
