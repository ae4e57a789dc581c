"""Which prompts need a forward pass of their own: a prompt inside a longer one is read off it.

Step labels continue a solution after each of its steps, so their prompts are prefixes of one
another: only the longest is prefilled, and the others see less of its keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrefixPlan:
    """`stems` are the token ids to prefill; prompt i is the start of `stems[stem_of[i]]`."""

    stems: tuple[tuple[int, ...], ...]
    stem_of: tuple[int, ...]


def plan(prompts: Sequence[Sequence[int]]) -> PrefixPlan:
    """Return the longest prompts, shortest first, and where each prompt is found.

    In lexicographic order, what extends a prompt follows it directly, so one pass from the end
    finds a stem for each.
    """
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]), reverse=True)
    found: list[tuple[int, ...]] = []
    member: dict[int, int] = {}
    for index in order:
        ids = tuple(prompts[index])
        if not found or found[-1][: len(ids)] != ids:
            found.append(ids)
        member[index] = len(found) - 1
    by_length = sorted(range(len(found)), key=lambda stem: len(found[stem]))
    place = {stem: i for i, stem in enumerate(by_length)}
    return PrefixPlan(
        stems=tuple(found[stem] for stem in by_length),
        stem_of=tuple(place[member[i]] for i in range(len(prompts))),
    )
