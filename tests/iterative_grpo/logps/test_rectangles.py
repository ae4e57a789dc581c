"""Which packed tokens see which, against the definition in loops over tokens."""

from __future__ import annotations

import random

import pytest
import torch

from benchmarks.pretend_gpu import DEVICE, attached
from iterative_grpo.logps import rectangles
from iterative_grpo.logps.rectangles import Layout, Span, layout

CPU = torch.device("cpu")


def spans_of(groups: list[tuple[int, list[int]]], chosen: random.Random | None) -> list[Span]:
    """Lay out prompts with the lengths of what follows them; `chosen` asks for some tokens."""
    found, place = [], 0
    for prompt, lengths in groups:
        start = place
        for length, before in ((prompt, 0), *((length, prompt) for length in lengths)):
            count = 0 if chosen is None else chosen.randint(0, length)
            asked = None if chosen is None else tuple(sorted(chosen.sample(range(length), count)))
            found.append(Span(place, length, start if before else 0, before, asked))
            place += length
    return found


def seen(made: Layout) -> dict[int, list[int]]:
    """Return the packed places that each place asked for sees."""
    found, first_query, first_key = {}, 0, 0
    cells = {cell: m for m, cell in enumerate(made.cells.tolist())}
    for each in made.rectangles:
        visible = each.visible
        if visible is None:
            visible = torch.ones(each.columns, each.seen, dtype=torch.bool).tril()
        visible = visible.expand(each.rows, 1, each.columns, each.seen)
        for row in range(each.rows):
            keys = made.keys[first_key : first_key + each.seen]
            first_key += each.seen
            for column in range(each.columns):
                if first_query + column in cells:
                    place = int(made.places[cells[first_query + column]])
                    found[place] = sorted(keys[visible[row, 0, column]].tolist())
            first_query += each.columns
    return found


@pytest.mark.parametrize("wasted", [0, 100, 10**9])
@pytest.mark.parametrize("some", [False, True])
def test_a_token_sees_its_prompt_and_its_span_up_to_itself(
    wasted: int, some: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(rectangles._WASTED_PAIRS, "cpu", wasted)
    drawn = random.Random(wasted)
    for _ in range(20):
        groups = [
            (drawn.randint(1, 6), [drawn.randint(1, 7) for _ in range(drawn.randint(0, 4))])
            for _ in range(drawn.randint(1, 4))
        ]
        spans = spans_of(groups, drawn if some else None)
        expected = {
            span.start + t: [
                *range(span.prompt_start, span.prompt_start + span.prompt),
                *range(span.start, span.start + t + 1),
            ]
            for span in spans
            for t in (range(span.length) if span.asked is None else span.asked)
        }
        if expected:
            made = layout(spans, CPU)
            assert made.places.tolist() == sorted(expected)
            assert seen(made) == expected


def test_masks_are_made_on_the_gpu() -> None:
    spans = spans_of([(90, [300, 200, 250]), (110, [310, 280, 100])], None)
    tokens = sum(span.length for span in spans)
    with attached() as asked:
        made = layout(spans, DEVICE)
        masks = [each.visible for each in made.rectangles if each.visible is not None]
        assert sum(mask.numel() for mask in masks) > 300 * tokens
        # Places, queries and keys, eight bytes each, and what masks are made of.
        assert asked.brought < 8 * 6 * tokens
        assert asked.waits == 0
