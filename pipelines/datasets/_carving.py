"""A validation split out of train, by questions: the same for everybody, whatever the seed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from iterative_grpo.types import Problem

SHARE = 0.05
LARGEST = 500


def carve(
    problems: Sequence[Problem], share: float = SHARE, largest: int = LARGEST
) -> tuple[list[Problem], list[Problem]]:
    """Split into (train, validation), each in the given order.

    Questions are ranked by the sha256 of their text without spacing and case; the lowest `share`
    of them, at most `largest`, are validation. So the two share no question even up to spacing and
    case, and neither a seed nor the order of the rows decides.
    """
    keys = [question_key(problem.question) for problem in problems]
    ranked = sorted(set(keys))
    held_out = set(ranked[: min(largest, math.ceil(share * len(ranked)))])
    train = [problem for problem, key in zip(problems, keys, strict=True) if key not in held_out]
    validation = [problem for problem, key in zip(problems, keys, strict=True) if key in held_out]
    return train, validation


def question_key(question: str) -> str:
    """Return a hash that is equal for questions equal up to spacing and case."""
    return hashlib.sha256("".join(question.casefold().split()).encode()).hexdigest()
