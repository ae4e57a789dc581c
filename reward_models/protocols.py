"""The interfaces of this package, one method each, and the tools that labelers are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from iterative_grpo.protocols import Engine, Splitter
from iterative_grpo.steps import Decoder
from iterative_grpo.types import Completion, Problem, Prompt, Sampling
from reward_models.types import LabelCost, LabeledSolution

if TYPE_CHECKING:
    from reward_models.model import RewardModel


class Verdict(Protocol):
    """What is needed of a verdict."""

    @property
    def correct(self) -> bool:
        """Whether the response states the gold answer."""
        ...


Verify = Callable[[Sequence[tuple[str, str]]], Sequence[Verdict]]
"""Maps (response, gold answer) pairs to verdicts: `verifiers.verify_many` with its convention."""

CheckSteps = Callable[[Problem, str, Sequence[int]], Sequence[bool]]
"""A data set's own step check: for each step of a text cut at ends, whether it is right."""


class Scorer(Protocol):
    """What is needed of a reward model to judge with it."""

    def score(
        self, questions: Sequence[str], texts: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> list[tuple[float, ...]]:
        """Return one probability an end for each text."""
        ...


class Labeler(Protocol):
    """Labels completions at their ends (`reward_models/labels/`, one file each)."""

    def label(
        self,
        problems: Sequence[Problem],
        completions: Sequence[Completion],
        ends: Sequence[Sequence[int]],
    ) -> tuple[list[LabeledSolution], LabelCost]:
        """Return one labeled solution a completion, and what they cost together.

        `problems[i]` belongs to `completions[i]`. The result depends on the rows alone, not on
        calls before, so that a run that was cut off labels on as if it had not been.
        """
        ...


@dataclass(frozen=True, slots=True)
class Continuing:
    """What is needed to continue prefixes with the current policy.

    `prompts` holds the rendered question of each problem id. `sampling.group_size` is the number of
    continuations of a prefix; `sampling.max_tokens` limits the whole completion, prefix included.
    """

    engine: Engine
    prompts: Mapping[str, Prompt]
    sampling: Sampling
    tokenizer: Decoder


@dataclass(frozen=True, slots=True)
class Tools:
    """All that a labeler may be made of; `labels.NAME.build` takes what it needs.

    `completer` is the fingerprint of the policy that `continuing` samples.
    """

    verify: Verify
    iteration: int
    completer: str = ""
    check_steps: CheckSteps | None = None
    continuing: Continuing | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a reward source may be made of; `sources.NAME.build` takes what it needs.

    `model` is the run's own reward model (None where none is trained), `published` one that others
    trained; weights and share are the mixture's.
    """

    splitter: Splitter
    verify: Verify
    check_steps: CheckSteps | None = None
    model: RewardModel | None = None
    published: Scorer | None = None
    verifier_weight: float = 1.0
    model_weight: float = 1.0
    verified_share: float = 0.1
    seed: int = 0

    def reward_model(self) -> RewardModel:
        """Return the reward model; ValueError without one."""
        if self.model is None:
            raise ValueError("this reward needs a reward model, and the run has trained none")
        return self.model

    def published_model(self) -> Scorer:
        """Return the published reward model; ValueError without one."""
        if self.published is None:
            raise ValueError(
                "reward published needs a published reward model: give published.model and "
                "published.convention"
            )
        return self.published
