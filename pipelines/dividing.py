"""What a run's reward models may learn from, and what they may never see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from iterative_grpo.types import Problem
from pipelines.config import Config
from reward_models.division import Division, Part
from reward_models.leaks import Forbidden, LeakedQuestion


def division(config: Config) -> Division:
    """Return the run's division of questions: the same in every iteration."""
    judge = config.reward_model
    return Division(judge.held_out, judge.validation, config.seed)


def forbidden(config: Config) -> Forbidden:
    """Return every question that the run evaluates on."""
    from pipelines.phases import evaluate

    found = Forbidden()
    for task in evaluate.tasks(config):
        for problem in task.problems:
            found.add(problem.id, problem.question, task.name)
    return found


def check(config: Config, problems: Sequence[Problem]) -> None:
    """Refuse questions for the reward model before anything is sampled.

    Raises:
        LeakedQuestion: one of them is an evaluation question.
        EmptyPart: none of them would be learned from, or measured on.
    """
    check_leaks(config, problems)
    check_parts(config, problems)


def check_leaks(config: Config, problems: Iterable[Problem]) -> None:
    """Refuse, by LeakedQuestion, problems of which one is an evaluation question."""
    evaluated = forbidden(config)
    for problem in problems:
        why = evaluated.why(problem.id, problem.question)
        if why is not None:
            raise LeakedQuestion(
                f"{problem.id} asks a question of {why}, on which this run is evaluated: "
                f"{problem.question[:80]!r}; set data.decontaminate.exact=drop"
            )


def check_parts(config: Config, problems: Iterable[Problem]) -> None:
    """Refuse, by EmptyPart, problems of which none would be learned from, or measured on."""
    needed = [Part.LABELS, Part.HELD_OUT]
    if config.reward_model.calibrate != "none":
        needed.append(Part.VALIDATION)
    division(config).require((p.question for p in problems), needed)
