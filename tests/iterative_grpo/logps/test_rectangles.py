"""Which packed tokens see which, against the definition in loops over tokens."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

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
            asked = None
            if chosen is not None and chosen.random() < 0.9:
                asked = tuple(sorted(chosen.sample(range(length), count)))
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


def wasted(run: Sequence[Span]) -> int:
    """Return the pairs of tokens that a rectangle of these spans has beyond theirs."""
    queries, prompt, length = (
        max(getattr(span, name) for span in run) for name in ("queries", "prompt", "length")
    )
    needed = sum(span.queries * (span.prompt + span.length) for span in run)
    return len(run) * queries * (prompt + length) - needed


@pytest.mark.parametrize("some", [False, True])
@pytest.mark.parametrize("allowed", [0, 3, 10, 40])
def test_spans_are_joined_while_what_they_waste_is_allowed(allowed: int, some: bool) -> None:
    drawn = random.Random(allowed)
    for _ in range(100):
        groups = [
            (drawn.randint(1, 4), [drawn.randint(1, 5) for _ in range(drawn.randint(0, 4))])
            for _ in range(drawn.randint(1, 4))
        ]
        spans = [span for span in spans_of(groups, drawn if some else None) if span.queries]
        runs = list(rectangles._runs(spans, allowed))
        # What comes first is the largest, so that what is filled up differs least.
        order = [(not span.prompt, span.length, span.prompt) for run in runs for span in run]
        assert order == sorted(order, reverse=True)
        assert sorted(span.start for run in runs for span in run) == [s.start for s in spans]
        for run in runs:
            assert wasted(run) <= allowed
            assert len({span.prompt > 0 for span in run}) == 1
        for run, after in itertools.pairwise(runs):
            joined = [*run, after[0]]
            assert wasted(joined) > allowed or len({span.prompt > 0 for span in joined}) == 2


def test_a_gpu_would_rather_waste_than_call() -> None:
    spans = spans_of([(300, []), (200, []), (100, [])], None)
    assert len(layout(spans, CPU).rectangles) == 3
    with attached():
        assert len(layout(spans, DEVICE).rectangles) == 1


def test_only_what_is_asked_for_is_computed() -> None:
    made = layout([Span(0, 5, asked=(1, 4)), Span(5, 9, asked=()), Span(14, 4, 0, 5, (2,))], CPU)
    assert [(each.rows, each.columns, each.seen) for each in made.rectangles] == [
        (1, 2, 5),
        (1, 1, 9),
    ]
    assert made.places.tolist() == [1, 4, 16]


def test_whole_texts_are_causal_without_a_mask() -> None:
    made = layout(spans_of([(5, []), (4, []), (3, [6])], None), CPU)
    assert [each.visible is None for each in made.rectangles] == [True, False]


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
