"""Replay: a share of each reward model's training rows comes from earlier iterations.

DeepSeekMath (arXiv:2402.03300, section 4.1.4) retrains the reward model "using a replay mechanism
that incorporates 10% of historical data" and says no more. Read here as: 10 % of the training
mixture comes from earlier iterations, evenly by iteration and label ("share"). By name also: 10 %
of all history added ("add"), a uniform sample of all history ("reservoir"), nothing ("none").
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from reward_models.history import History, Stratum, permuted
from reward_models.types import LabeledSolution


@dataclass(frozen=True, slots=True)
class ReplayRecord:
    """What a mixture was made of.

    `share` is the effective share of replayed rows in the mixture, `wanted_share` the one asked
    for; they differ where the history is short. `ages` counts replayed rows by age in iterations.
    `repeats` are fresh rows that say what another fresh one says; they stay. `positive_*` are the
    shares of rows whose last label is at least one half (None without rows).
    """

    strategy: str
    wanted_share: float
    share: float
    fresh: int
    replayed: int
    repeats: int
    too_old: int
    history: int
    ages: Mapping[int, int]
    positive_fresh: float | None
    positive_replayed: float | None
    seed: int

    def as_row(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        row = asdict(self)
        row["ages"] = {str(age): rows for age, rows in sorted(self.ages.items())}
        return row


@dataclass(frozen=True, slots=True)
class Mixture:
    """Training rows, fresh ones first in their order, then the replayed ones, and their record."""

    rows: tuple[LabeledSolution, ...]
    record: ReplayRecord


def mix(
    fresh: Sequence[LabeledSolution],
    history: Sequence[Path],
    *,
    share: float = 0.1,
    seed: int,
    strategy: str = "share",
    max_age: int | None = None,
    relabel: Relabel | None = None,
) -> Mixture:
    """Return fresh rows with replayed ones; deterministic from the seed.

    `history` are labels files of earlier iterations as `history.write_labels` wrote them; only the
    rows drawn are read. No question and text is replayed twice, or replayed beside a fresh row.
    Fresh repeats stay: how often the policy says something is what the judge's training should
    weigh it by (without them held-out AUROC fell from .90 to .81 on the arithmetic task).
    `max_age` leaves out files that are more iterations old than that. `relabel` gets the replayed
    rows and returns them with today's labels, in order: Monte-Carlo labels are of the policy that
    made them; verdicts and exact checks do not age.
    """
    quota = _strategy(strategy)
    if not 0 <= share < 1:
        raise ValueError(f"replay share is {share}, must be in [0, 1)")
    kept = list(fresh)
    now = max((row.iteration for row in kept), default=0)
    with ExitStack() as stack:
        opened = [stack.enter_context(History(path)) for path in history]
        late = [past for past in opened if kept and past.iteration >= now]
        if late:
            raise ValueError(
                f"{late[0].path} is of iteration {late[0].iteration}, the fresh rows of {now}; "
                "history comes from earlier iterations"
            )
        opened.sort(key=lambda past: -past.iteration)
        young = [past for past in opened if max_age is None or now - past.iteration <= max_age]
        strata = [(past, stratum) for past in young for stratum in past.strata if stratum.rows]
        generator = np.random.default_rng(seed)
        seen = {row.digest for row in kept}
        wanted = quota(len(kept), sum(stratum.rows for _, stratum in strata), Fraction(str(share)))
        if strategy == "share":
            replayed = _draw_evenly(strata, wanted, seen, generator)
        else:
            replayed = _draw_uniformly(strata, wanted, seen, generator)
        if relabel is not None:
            replayed = _relabeled(replayed, relabel)
        record = ReplayRecord(
            strategy=strategy,
            wanted_share=share if strategy != "none" else 0.0,
            share=len(replayed) / max(1, len(kept) + len(replayed)),
            fresh=len(kept),
            replayed=len(replayed),
            repeats=len(kept) - len({row.digest for row in kept}),
            too_old=len(opened) - len(young),
            history=sum(past.rows for past in opened),
            ages=dict(Counter(now - row.iteration for row in replayed)),
            positive_fresh=_positive(kept),
            positive_replayed=_positive(replayed),
            seed=seed,
        )
    return Mixture((*kept, *replayed), record)


def draw_past(paths: Sequence[Path], rows: int, seed: int) -> tuple[LabeledSolution, ...]:
    """Return up to `rows` distinct rows of labels files, evenly by iteration and label.

    Only the rows drawn are read: the cost does not grow with the files.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(History(path)) for path in paths]
        strata = [(past, stratum) for past in opened for stratum in past.strata if stratum.rows]
        return tuple(_draw_evenly(strata, rows, set(), np.random.default_rng(seed)))


Relabel = Callable[[Sequence[LabeledSolution]], Sequence[LabeledSolution]]
"""Returns the same solutions, in order, with new labels."""


def outcomes(rows: Sequence[LabeledSolution]) -> list[LabeledSolution]:
    """Keep of labels by a past policy's continuations the verdict of the whole alone.

    What a prefix leads to depends on who continues it; a verdict, and an exact check of steps,
    stays true. So rows without a completer are returned as they are.
    """
    return [
        replace(row, ends=row.ends[-1:], labels=row.labels[-1:], counts=row.counts[-1:])
        if row.completer
        else row
        for row in rows
    ]


def _relabeled(rows: list[LabeledSolution], relabel: Relabel) -> list[LabeledSolution]:
    """Return the relabeled rows; refuse other solutions than were given."""
    returned = list(relabel(rows))
    if [row.digest for row in returned] != [row.digest for row in rows]:
        raise ValueError(
            f"relabel was given {len(rows)} solutions and returned others ({len(returned)}); it "
            "returns the same solutions in their order"
        )
    return returned


Quota = Callable[[int, int, Fraction], int]
"""Number of rows to replay for a number of fresh rows, of rows in the history, and a share."""


def _of_mixture(fresh: int, history: int, share: Fraction) -> int:
    """R / (F + R) = share, rounded to the nearest whole row."""
    return round(fresh * share / (1 - share))


def _of_history(fresh: int, history: int, share: Fraction) -> int:
    return round(history * share)


def _nothing(fresh: int, history: int, share: Fraction) -> int:
    return 0


_STRATEGIES: Mapping[str, Quota] = {
    "share": _of_mixture,
    "add": _of_history,
    "reservoir": _of_mixture,
    "none": _nothing,
}


def _strategy(name: str) -> Quota:
    if name in _STRATEGIES:
        return _STRATEGIES[name]
    near = difflib.get_close_matches(name, _STRATEGIES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown replay {name!r}.{hint} Known: {', '.join(_STRATEGIES)}.")


Opened = Sequence[tuple[History, Stratum]]


def _draw_evenly(
    strata: Opened, wanted: int, seen: set[bytes], generator: np.random.Generator
) -> list[LabeledSolution]:
    """Draw from the strata in turn, in a random order each round, until enough or exhausted.

    Strata then differ by at most one row, except those that run short: the others take their part.
    """
    draw = _uniforms(generator)
    sources = [_rows(past, stratum, seen, draw) for past, stratum in strata]
    drawn: list[LabeledSolution] = []
    while sources and len(drawn) < wanted:
        alive = []
        for index in generator.permutation(len(sources)):
            if len(drawn) == wanted:
                break
            row = next(sources[index], None)
            if row is not None:
                drawn.append(row)
                alive.append(sources[index])
        sources = alive
    return drawn


def _draw_uniformly(
    strata: Opened, wanted: int, seen: set[bytes], generator: np.random.Generator
) -> list[LabeledSolution]:
    """Draw rows of the whole history with equal chances."""
    draw = _uniforms(generator)
    bounds = np.cumsum([stratum.rows for _, stratum in strata])
    drawn: list[LabeledSolution] = []
    for place in permuted(int(bounds[-1]) if strata else 0, draw):
        if len(drawn) == wanted:
            break
        index = int(np.searchsorted(bounds, place, side="right"))
        past, stratum = strata[index]
        row = stratum.first + place - int(bounds[index] - stratum.rows)
        digest = past.digest(row)
        if digest not in seen:
            seen.add(digest)
            drawn.append(past.read(row))
    return drawn


def _rows(
    past: History, stratum: Stratum, seen: set[bytes], draw: Iterator[float]
) -> Iterator[LabeledSolution]:
    """Yield a stratum's rows in random order, without those already in the mixture."""
    for place in permuted(stratum.rows, draw):
        digest = past.digest(stratum.first + place)
        if digest not in seen:
            seen.add(digest)
            yield past.read(stratum.first + place)


def _uniforms(generator: np.random.Generator) -> Iterator[float]:
    while True:
        yield from generator.random(64).tolist()


def _positive(rows: Sequence[LabeledSolution]) -> float | None:
    return sum(row.positive for row in rows) / len(rows) if rows else None
