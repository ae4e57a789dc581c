"""The interfaces of the algorithm, one method each. A plug-in needs to fit one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from iterative_grpo.types import Completion, Problem, Prompt, Sampling, StepRewards

Group = Sequence[Sequence[float]]
"""Step values of one group, by output and step (G, S). Ragged in S: outputs differ in steps."""

Rewards = Sequence[Group]
"""Step values by problem, output and step (P, G, S)."""

Normalize = Callable[[Rewards], list[list[list[float]]]]
"""Maps values to comparable ones, by the mean and deviation of each group (normalize.py)."""

Samplings = Sampling | Sequence[Sampling]
"""How to sample prompts: one for all of them, or one for each."""


class Splitter(Protocol):
    """Cuts a solution's text into steps (`iterative_grpo/splitters/`, one file each)."""

    def split(self, text: str) -> tuple[int, ...]:
        """Return the step ends: strictly increasing, the last one `len(text)`.

        A text without a step, the empty one too, is one step.
        """
        ...


class CreditRule(Protocol):
    """Turns step rewards into step advantages (`iterative_grpo/advantages/`, one file each)."""

    def credit(self, rewards_PGS: Rewards, normalize: Normalize) -> list[list[list[float]]]:
        """Return one advantage for each step of each output; every token of a step gets it."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Samples a policy (`iterative_grpo/engines/`, one file each)."""

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        """Return one group of `group_size` completions for each prompt, in order.

        A prompt is sampled by its own sampling as it would be alone: the other requests change
        nothing but the random numbers of an engine that draws them for a whole batch.

        Raises:
            ValueError: if several samplings are given, and not one for each prompt.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """An engine that can keep what it computed of prompts for calls that ask for more of them."""

    def remembering(self) -> AbstractContextManager[None]:
        """Return a context of such calls; the policy's weights stay as they are inside."""
        ...


class RewardSource(Protocol):
    """All that the trainer knows of rewards (`reward_models/sources/`, one file each)."""

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        """Return the step rewards of each completion; `problems[i]` belongs to `completions[i]`."""
        ...
