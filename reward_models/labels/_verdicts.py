"""The verdict of whole texts, and the rules that all labelers share."""

from __future__ import annotations

from collections.abc import Sequence

from iterative_grpo.types import Completion, Problem
from reward_models.protocols import Verify
from reward_models.types import LabeledSolution


def verify_all(
    verify: Verify,
    problems: Sequence[Problem],
    completions: Sequence[Completion],
    ends: Sequence[Sequence[int]],
) -> list[bool]:
    """Return the verifier's verdict on each whole completion, after checking that rows match."""
    if not len(problems) == len(completions) == len(ends):
        raise ValueError(
            f"{len(problems)} problems, {len(completions)} completions and {len(ends)} lists of "
            "ends; expected as many of each"
        )
    for problem, completion, cut in zip(problems, completions, ends, strict=True):
        if problem.id != completion.problem_id:
            raise ValueError(
                f"completion of {completion.problem_id} was given with problem {problem.id}"
            )
        if not cut or cut[-1] != len(completion.text):
            raise ValueError(
                f"{problem.id}: ends {list(cut)} do not close a text of {len(completion.text)} "
                "characters; the last end is the text's length"
            )
    pairs = [
        (completion.text, problem.answer)
        for problem, completion in zip(problems, completions, strict=True)
    ]
    return [verdict.correct for verdict in verify(pairs)]


def last_count(completion: Completion, correct: bool) -> tuple[int, int]:
    """Return the count of the last end: the verdict, or 0 of 1 for a truncated fragment.

    The fragment gets the lowest label even if an answer stands in it: the policy did not stop.
    """
    return (int(correct and not completion.truncated), 1)


def solution(
    problem: Problem,
    completion: Completion,
    ends: Sequence[int],
    counts: Sequence[tuple[int, int]],
    *,
    correct: bool,
    iteration: int,
    labeler: str,
    completer: str,
    labels: Sequence[float] | None = None,
) -> LabeledSolution:
    """Return the labeled solution; labels are the counts' fractions unless given."""
    if labels is None:
        labels = [successes / trials for successes, trials in counts]
    return LabeledSolution(
        problem_id=problem.id,
        question=problem.question,
        text=completion.text,
        ends=tuple(ends),
        labels=tuple(labels),
        counts=tuple(counts),
        iteration=iteration,
        labeler=labeler,
        completer=completer,
        correct=correct,
        finished=not completion.truncated,
    )
