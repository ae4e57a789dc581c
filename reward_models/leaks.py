"""No evaluation question in training: by problem id, and by the question's text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reward_models.questions import question_digest
from reward_models.types import LabeledSolution


class LeakedQuestion(ValueError):
    """A training row asks an evaluation question."""


class Forbidden:
    """Questions that must never be trained on; memory is 16 bytes a question."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._digests: dict[bytes, str] = {}

    def add(self, problem_id: str, question: str, why: str) -> None:
        """Forbid a question; `why` is what the error says it belongs to (a data set's split)."""
        self._names[problem_id] = why
        self._digests[question_digest(question)] = why

    def why(self, problem_id: str, question: str) -> str | None:
        """Return what a question belongs to that must not be trained on, None for any other."""
        return self._names.get(problem_id) or self._digests.get(question_digest(question))

    def checked(self, rows: Iterable[LabeledSolution]) -> Iterator[LabeledSolution]:
        """Yield the rows; LeakedQuestion at the first that asks a forbidden question."""
        for row in rows:
            why = self.why(row.problem_id, row.question)
            if why is not None:
                raise LeakedQuestion(
                    f"{row.problem_id} (iteration {row.iteration}) asks a question of {why}: "
                    f"{row.question[:80]!r}; a reward model that has seen it cannot be measured "
                    "there: remove it from the training data"
                )
            yield row
