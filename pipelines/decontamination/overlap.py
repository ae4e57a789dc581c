"""Which questions of one list resemble one of another list, exactly and on one core in seconds.

Resemblance is the Jaccard similarity of the sets of five-character pieces of two texts, spacing and
case folded and every number replaced by 0. All pairs above a threshold t are found without trying
all pairs: put the pieces of every text in one order, the rarest first; two sets with a similarity
of t or more share one of their first n - ceil(t n) + 1 pieces (prefix filtering: Bayardo, Ma and
Srikant, "Scaling up all pairs similarity search", WWW 2007).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reward_models.questions import question_digest

Kind = Literal["exact", "near", "template", "ngram"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The strongest first."""

PIECE = 5
"""Characters of a piece: a changed word of a short question then changes its similarity visibly."""

_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_NUMBER = re.compile(r"[0-9]+")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Match:
    """A question's strongest match: the other's place in its list, and how alike the two are.

    `similarity` is that of the texts without numbers, and for an `ngram` the share of the shorter
    question's runs of words that the two have in common.
    """

    kind: Kind
    other: int
    similarity: float


@dataclass(frozen=True, slots=True)
class _Text:
    masked: str
    """Without spacing, case and numbers."""
    numbers: tuple[str, ...]


def _read(question: str) -> _Text:
    folded = "".join(unicodedata.normalize("NFKC", question).casefold().split())
    plain = _THOUSANDS.sub("", folded)
    return _Text(_NUMBER.sub("0", plain), tuple(_NUMBER.findall(plain)))


class Index:
    """The questions of an evaluation, ready to be asked for what resembles a training question."""

    def __init__(self, questions: Sequence[str], similarity: float, words: int) -> None:
        """Index questions for matches of at least `similarity`, and runs of `words` words."""
        texts = [_read(question) for question in questions]
        # What tells questions apart where the reward model's are divided: both must agree.
        self._exact: dict[bytes, int] = {}
        for place, question in enumerate(questions):
            self._exact.setdefault(question_digest(question), place)
        # Questions of one template differ in numbers alone: their text is compared once.
        self._members: dict[str, dict[tuple[str, ...], int]] = {}
        for place, text in enumerate(texts):
            self._members.setdefault(text.masked, {}).setdefault(text.numbers, place)
        self._similar = _Similar(list(self._members), similarity)
        self._memory: dict[str, list[tuple[str, float]]] = {}
        self._words = words
        self._runs: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._run_counts: list[int] = []
        for place, question in enumerate(questions):
            runs = _runs(question, words)
            self._run_counts.append(len(runs))
            for run in runs:
                self._runs[run].append(place)

    def strongest(self, question: str) -> Match | None:
        """Return the strongest match of a question; of equal ones the most similar, the first."""
        if (same := self._exact.get(question_digest(question))) is not None:
            return Match("exact", same, 1.0)
        text = _read(question)
        near: Match | None = None
        template: Match | None = None
        for masked, similarity in self._alike(text.masked):
            members = self._members[masked]
            place = members.get(text.numbers)
            if place is None:
                found = Match("template", next(iter(members.values())), similarity)
                template = _more(template, found)
            else:
                near = _more(near, Match("near", place, similarity))
        return near or template or self._sharing(question)

    def _alike(self, masked: str) -> list[tuple[str, float]]:
        if masked not in self._memory:
            self._memory[masked] = sorted(self._similar.to(masked), key=lambda it: -it[1])
        return self._memory[masked]

    def _sharing(self, question: str) -> Match | None:
        runs = _runs(question, self._words)
        shared = Counter(place for run in runs for place in self._runs.get(run, ()))
        best: Match | None = None
        for place, count in shared.items():
            share = count / min(len(runs), self._run_counts[place])
            best = _more(best, Match("ngram", place, share))
        return best


def _more(known: Match | None, found: Match) -> Match:
    return found if known is None or found.similarity > known.similarity else known


def _runs(question: str, words: int) -> set[tuple[str, ...]]:
    found = _WORD.findall(question.casefold())
    return {tuple(found[start : start + words]) for start in range(len(found) - words + 1)}


class _Similar:
    """Finds the texts whose pieces have at least a Jaccard similarity with another text's."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._texts = texts
        self._threshold = threshold
        self._pieces = [_pieces(text) for text in texts]
        self._frequency = Counter(piece for pieces in self._pieces for piece in pieces)
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, pieces in enumerate(self._pieces):
            for piece in self._prefix(pieces):
                self._places[piece].append(place)

    def to(self, text: str) -> Iterator[tuple[str, float]]:
        pieces = _pieces(text)
        candidates = {
            place for piece in self._prefix(pieces) for place in self._places.get(piece, ())
        }
        for place in sorted(candidates):
            other = self._pieces[place]
            if min(len(pieces), len(other)) < self._threshold * max(len(pieces), len(other)):
                continue
            common = len(pieces & other)
            similarity = common / (len(pieces) + len(other) - common)
            if similarity >= self._threshold:
                yield self._texts[place], similarity

    def _prefix(self, pieces: set[str]) -> list[str]:
        """Return as many of the rarest pieces as a similar text must share one of."""
        # Rounded down a little: a needless candidate costs nothing, a missed one is missed.
        needed = math.ceil(self._threshold * len(pieces) - 1e-9)
        order = sorted(pieces, key=lambda piece: (self._frequency.get(piece, 0), piece))
        return order[: len(pieces) - needed + 1]


def _pieces(text: str) -> set[str]:
    return {text[start : start + PIECE] for start in range(max(1, len(text) - PIECE + 1))}
