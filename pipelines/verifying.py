"""The truth, as phases ask for it: verdicts on many completions at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from iterative_grpo import timing
from iterative_grpo.types import Completion, Problem
from pipelines import datasets, questions
from pipelines.config import Config
from reward_models.protocols import CheckSteps
from verifiers import Verdict, verify_many

Verdicts = Callable[[Sequence[tuple[str, str]]], list[Verdict]]
"""Maps (response, gold answer) pairs to verdicts; what `reward_models` takes as `Verify`."""


def verifier(config: Config) -> Verdicts:
    """Return the verifier with the run's conventions, as labelers and sources take it."""
    return by_convention(questions.convention(config))


def by_convention(convention: str) -> Verdicts:
    """Return the verifier with one convention: (response, gold) pairs in, verdicts out."""

    def verdicts(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        with timing.part("verify"):
            return verify_many(pairs, convention=convention)

    return verdicts


def truth(config: Config) -> Callable[[Sequence[Problem], Sequence[Completion]], list[bool]]:
    """Return what tells whether completions are right, for the log of the policy phase."""
    verdicts = verifier(config)

    def right(problems: Sequence[Problem], completions: Sequence[Completion]) -> list[bool]:
        pairs = [(c.text, p.answer) for p, c in zip(problems, completions, strict=True)]
        return [verdict.correct for verdict in verdicts(pairs)]

    return right


def step_check(config: Config) -> CheckSteps | None:
    """Return the training data's own step check, if it has one."""
    check: CheckSteps | None = getattr(datasets.find(config.data.name), "check_steps", None)
    return check
