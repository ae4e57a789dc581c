"""Which answers to a question are the same answer: told by the verifier, not by their spelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines import verifying
from verifiers import conventions
from verifiers.batch import RowGoldError
from verifiers.plain import number_of
from verifiers.verdict import Verdict

Row = Mapping[str, Any]
Verdicts = Callable[[Sequence[tuple[str, str]]], Sequence[Verdict]]

RIGHT = "right"
"""The answer of all right samples. No other answer is equal to it, or it would be right."""


def answers(groups: Sequence[Sequence[Row]], convention: str) -> list[list[str | None]]:
    """Return what each sample of each question votes for; None without an answer.

    Samples of a question vote for the same where they are right, or where the verifier with this
    convention finds one's answer equal to the other's as a gold. Answers that nobody can read, or
    not in time, vote for their own spelling. Each answer is compared with the first one of each
    kind only.
    """
    if conventions.load(convention)("0").text is None:
        convention = "math"  # it reads marked answers alone, and these have lost their marks
    kinds: list[dict[str, str]] = []  # for each question, from a spelling to what it votes for
    left: list[list[str]] = []
    for group in groups:
        wrong = [row["extracted"] for row in group if row["outcome"] == "incorrect"]
        left.append(list(dict.fromkeys(text for text in wrong if text is not None)))
        kinds.append({})
    # Samples that disagree have as many pairs as their number squared: most are two numbers, of
    # which the values say what the verifier would.
    numbers = {text: number_of(text, convention) for texts in left for text in texts}
    while any(left):
        pairs, asked = [], []
        same: set[tuple[int, str]] = set()
        for question, texts in enumerate(left):
            if texts:
                first, *others = texts
                kinds[question][first] = first
                value = numbers[first]
                for other in others:
                    if value is None or numbers[other] is None:
                        pairs.append((other, first))
                        asked.append((question, other))
                    elif value == numbers[other]:
                        same.add((question, other))
        equal = _equal(pairs, verifying.by_convention(convention))
        same |= {key for key, found in zip(asked, equal, strict=True) if found}
        for question, texts in enumerate(left):
            for other in texts[1:]:
                if (question, other) in same:
                    kinds[question][other] = texts[0]
            left[question] = [text for text in texts[1:] if (question, text) not in same]
    return [
        [_vote(row, known) for row in group] for group, known in zip(groups, kinds, strict=True)
    ]


def _vote(row: Row, kinds: Mapping[str, str]) -> str | None:
    if row["outcome"] == "correct":
        return RIGHT
    text = row["extracted"]
    # The mark keeps a wrong answer that is spelt like `RIGHT` apart.
    return None if text is None else f"={kinds.get(text, text)}"


def _equal(pairs: list[tuple[str, str]], verdicts: Verdicts) -> list[bool]:
    """Whether the verifier finds each pair equal; one that cannot be a gold equals nothing."""
    found = [False] * len(pairs)
    places = list(range(len(pairs)))
    while places:
        try:
            for place, verdict in zip(
                places, verdicts([pairs[place] for place in places]), strict=True
            ):
                found[place] = verdict.correct
        except RowGoldError as error:
            unfit = pairs[places[error.row]][1]
            places = [place for place in places if pairs[place][1] != unfit]
        else:
            break
    return found
