"""No evaluation question in training: by problem id, and by the question's text."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator

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
        self._digests[_digest(question)] = why

    def checked(self, rows: Iterable[LabeledSolution]) -> Iterator[LabeledSolution]:
        """Yield the rows; LeakedQuestion at the first that asks a forbidden question."""
        for row in rows:
            why = self._names.get(row.problem_id) or self._digests.get(_digest(row.question))
            if why is not None:
                raise LeakedQuestion(
                    f"{row.problem_id} (iteration {row.iteration}) asks a question of {why}: "
                    f"{row.question[:80]!r}; a reward model that has seen it cannot be measured "
                    "there: remove it from the training data"
                )
            yield row


def _digest(question: str) -> bytes:
    """Hash the question without spacing, case and sentence marks; operators make it another one."""
    folded = unicodedata.normalize("NFKC", question).casefold()
    kept = "".join(c for c in folded if not c.isspace() and c not in ".,;:!?'\"")
    return hashlib.blake2b(kept.encode("utf-8", "surrogatepass"), digest_size=16).digest()
