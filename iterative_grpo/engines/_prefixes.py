"""What prompts share, so that each token is computed once: a tree of their prefixes.

Step labels continue a solution after each of its steps: their prompts are prefixes of one another,
or of the solutions of one question. Prompts with examples share these. A prompt inside a longer one
is read off it. The longest prompts, the stems, are cut where they part; what several share is an
edge of the tree, computed before the edges that follow it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edge:
    """Tokens `start` up to `stop` of these stems, which are alike until there."""

    start: int
    stop: int
    stems: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PrefixPlan:
    """Prompt i is the start of `stems[stem_of[i]]`; stems are in the order of their prompts.

    The first `known[n]` tokens of stem n need not be computed. `levels` are the edges in the order
    to compute them: those of a level follow edges of levels before it, or known tokens.
    """

    stems: tuple[tuple[int, ...], ...]
    stem_of: tuple[int, ...]
    known: tuple[int, ...]
    levels: tuple[tuple[Edge, ...], ...]

    @property
    def tokens(self) -> int:
        """The number of tokens to compute."""
        return sum(edge.stop - edge.start for level in self.levels for edge in level)


@dataclass(frozen=True, slots=True)
class _Branch:
    """Stems `first` up to `last` in lexicographic order, all computed up to `start`."""

    first: int
    last: int
    start: int


def plan(
    prompts: Sequence[Sequence[int]],
    level_tokens: float = 1,
    known: Callable[[tuple[int, ...]], int] = lambda prompt: 0,
) -> PrefixPlan:
    """Return the tree of these prompts, none of which is empty.

    A level of edges costs a forward pass, so it has to save `level_tokens`. With 1 every distinct
    token is computed once, with infinity each stem is computed whole. `known` tells how many tokens
    at a prompt's start need not be computed; the last one of each prompt always is, since what
    follows is sampled there.
    """
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
    stems: list[tuple[int, ...]] = []
    member = [0] * len(prompts)
    # What extends a prompt follows it directly.
    for index in order:
        ids = tuple(prompts[index])
        if stems and ids[: len(stems[-1])] == stems[-1]:
            stems[-1] = ids
        else:
            stems.append(ids)
        member[index] = len(stems) - 1
    starts = [known(ids) for ids in stems]
    for prompt, stem in zip(prompts, member, strict=True):
        starts[stem] = min(starts[stem], len(prompt) - 1)
    name = {stem: place for place, stem in enumerate(dict.fromkeys(member))}
    return PrefixPlan(
        stems=tuple(stems[stem] for stem in name),
        stem_of=tuple(name[stem] for stem in member),
        known=tuple(starts[stem] for stem in name),
        levels=_levels(stems, name, level_tokens, starts),
    )


def _levels(
    stems: Sequence[tuple[int, ...]],
    name: dict[int, int],
    level_tokens: float,
    known: Sequence[int],
) -> tuple[tuple[Edge, ...], ...]:
    """Cut stems in lexicographic order where they part, all trees together, level by level.

    A level that is left out is computed by the next one, once for each of its branches.
    """
    alike = [common(a, b) for a, b in itertools.pairwise(stems)]

    levels: list[list[Edge]] = [[]]
    branches = [_Branch(*part, 0) for part in _parts(alike, 0, len(stems), 0)]
    while branches:
        forks: list[tuple[Edge, list[tuple[int, int]]]] = []
        for branch in branches:
            first, last = branch.first, branch.last
            stop = min(alike[first : last - 1], default=len(stems[first]))
            start = min(stop, max(branch.start, min(known[first:last])))
            edge = Edge(start, stop, tuple(name[i] for i in range(first, last)))
            if last - first == 1:
                levels[-1].append(edge)
            else:
                forks.append((edge, list(_parts(alike, first, last, stop))))
        saved = sum((edge.stop - edge.start) * (len(parts) - 1) for edge, parts in forks)
        kept = saved >= level_tokens
        if kept:
            levels[-1] += [edge for edge, _ in forks if edge.start < edge.stop]
            levels.append([])
        branches = [
            _Branch(*part, edge.stop if kept else edge.start)
            for edge, parts in forks
            for part in parts
        ]
    return tuple(tuple(level) for level in levels if level)


def _parts(alike: Sequence[int], first: int, last: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of stems that are alike beyond `stop`."""
    for place in range(first, last):
        if place + 1 == last or alike[place] <= stop:
            yield first, place + 1
            first = place + 1


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two prompts have in common at their start."""
    both = zip(a, b, strict=False)
    return next((i for i, (x, y) in enumerate(both) if x != y), min(len(a), len(b)))


def families(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Return the prompts' indices, those that share tokens side by side, short ones first.

    A family goes by its longest prompt. Neighbours are of one family if they share most of what
    is not common to all.
    """
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
    if not order:
        return []
    to_all = common(prompts[order[0]], prompts[order[-1]])
    found = [order[:1]]
    for before, index in itertools.pairwise(order):
        ids = prompts[index]
        if 2 * (common(prompts[before], ids) - to_all) >= len(ids) - to_all:
            found[-1].append(index)
        else:
            found.append([index])
    found.sort(key=lambda family: max(len(prompts[i]) for i in family))
    return [index for family in found for index in family]
