"""A reward model's word on samples: the values of their steps, kept, and what is made of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from iterative_grpo.protocols import Splitter
from iterative_grpo.types import Finish
from pipelines import policies, published
from pipelines.evaluate_settings import EvaluateSettings
from pipelines.evaluation.parts import Parts
from pipelines.progress import Progress
from pipelines.published import NoRewardModel
from pipelines.world import World
from reward_models.protocols import Scorer
from reward_models.types import as_rewarded

Row = Mapping[str, Any]

AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "last": lambda values: values[-1],
    "mean": fmean,
}
"""From the probabilities of a solution's steps to its score, all in [0, 1].

Product: Let's Verify Step by Step (arXiv:2305.20050); min: Math-Shepherd (arXiv:2312.08935); last:
Snell et al. (arXiv:2408.03314).
"""

OUTPUTS_AT_ONCE = 512
"""Samples scored between two writes."""


def load(settings: EvaluateSettings) -> Scorer | None:
    """Return the reward model that is to choose, if one is configured.

    Raises NoRewardModel for one that cannot be had, ValueError for one that cannot judge.
    """
    name = settings.reward_model
    if name is None:
        return None
    if settings.reward_convention is not None:
        return published.load(name, settings.reward_convention, settings.reward_dtype)
    from reward_models.encoding import UnfitTokenizer
    from reward_models.model import DamagedModel, RewardModel, UntrainedHead

    try:
        return RewardModel.load(name, device=policies.device(), dtype=settings.reward_dtype)
    except (UntrainedHead, UnfitTokenizer, DamagedModel):
        raise
    except (OSError, ValueError) as error:
        raise NoRewardModel(f"reward model {unreadable(name, error, 'its convention')}") from None


def unreadable(name: str, error: Exception, convention: str) -> str:
    """Say why a reward model cannot be loaded, and what is expected; `convention` names a key."""
    return (
        f"{name} cannot be loaded: {policies.reason(name, error, 'retrain/model')}. Expected a "
        f"reward model's folder, or a published one by its name together with {convention}"
    )


def score(
    scorer: Scorer,
    splitter: Splitter,
    groups: Sequence[Sequence[Row]],
    parts: Parts,
    place: World,
    progress: Progress,
    label: str,
) -> None:
    """Score the samples of each question that `parts` does not hold yet."""
    at_once = max(1, OUTPUTS_AT_ONCE // max(len(group) for group in groups))

    def make(run: range) -> tuple[list[dict[str, Any]], dict[str, float]]:
        rows = [row for question in run for row in groups[question]]
        started = time.perf_counter()
        texts = [row["response"] for row in rows]
        ends = [splitter.split(text) for text in texts]
        values = scorer.score([row["question"] for row in rows], texts, ends)
        scored = [
            {
                "problem_id": row["problem_id"],
                "sample": row["sample"],
                "ends": list(cut),
                # As in training.
                "values": list(as_rewarded(found, finished=row["finish"] != Finish.LENGTH.value)),
            }
            for row, cut, found in zip(rows, ends, values, strict=True)
        ]
        return scored, {"score": time.perf_counter() - started}

    parts.fill(len(groups), at_once, make, place, progress, label)
