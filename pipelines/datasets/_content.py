"""What a split asks and expects, as one checksum: equal for equal rows in any file and order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from iterative_grpo.types import Problem


def checksum(problems: Iterable[Problem]) -> str:
    """Return the sha256 over questions and golds. The order of the rows and their ids do not count.

    Neither do worked solutions, levels and the like: two sets of equal checksum give equal scores.
    """
    rows = sorted(_row(problem) for problem in problems)
    return hashlib.sha256(b"".join(rows)).hexdigest()


def _row(problem: Problem) -> bytes:
    question, answer = problem.question.encode(), problem.answer.encode()
    # The length keeps a question's end from passing for an answer's beginning.
    return hashlib.sha256(b"%d\n%s%s" % (len(question), question, answer)).digest()
