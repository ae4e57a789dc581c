from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iterative_grpo.engines._prefixes import Edge, families, plan

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1)
WORTH = st.sampled_from([1, 2, 3, 5, 8, math.inf])


def distinct_prefixes(prompts: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """Return the nodes of the prompts' trie: what a computation of each token once computes."""
    return {prompt[:n] for prompt in prompts for n in range(1, len(prompt) + 1)}


@given(PROMPTS, WORTH)
def test_stems_are_exactly_the_prompts_no_other_prompt_extends(
    prompts: list[tuple[int, ...]], worth: float
) -> None:
    found = plan(prompts, worth)
    distinct = set(prompts)
    maximal = {p for p in distinct if not any(q != p and q[: len(p)] == p for q in distinct)}
    assert len(found.stems) == len(maximal)
    assert set(found.stems) == maximal
    for prompt, stem in zip(prompts, found.stem_of, strict=True):
        assert found.stems[stem][: len(prompt)] == prompt
    # Rows that go prompt by prompt then also go stem by stem.
    assert list(dict.fromkeys(found.stem_of)) == list(range(len(found.stems)))


@given(PROMPTS, WORTH)
def test_edges_make_up_each_stem_in_the_order_of_their_levels(
    prompts: list[tuple[int, ...]], worth: float
) -> None:
    found = plan(prompts, worth)
    reached = [0] * len(found.stems)
    for level in found.levels:
        assert level
        before = list(reached)
        for edge in level:
            assert edge.start < edge.stop
            assert len({found.stems[stem][: edge.stop] for stem in edge.stems}) == 1
            for stem in edge.stems:
                # What an edge sees was computed in an earlier level, not in this one.
                assert before[stem] == edge.start
                reached[stem] = edge.stop
    assert reached == [len(stem) for stem in found.stems]


@given(PROMPTS)
def test_each_distinct_token_is_computed_once(prompts: list[tuple[int, ...]]) -> None:
    found = plan(prompts)
    computed = [
        found.stems[edge.stems[0]][: position + 1]
        for level in found.levels
        for edge in level
        for position in range(edge.start, edge.stop)
    ]
    assert len(computed) == len(set(computed)) == found.tokens
    assert set(computed) == distinct_prefixes(prompts)


@given(PROMPTS, st.integers(1, 12))
def test_every_level_behind_the_first_saves_what_it_has_to(
    prompts: list[tuple[int, ...]], worth: int
) -> None:
    found = plan(prompts, worth)
    whole = sum(map(len, found.stems))
    assert found.tokens + worth * (len(found.levels) - 1) <= whole
    assert len(distinct_prefixes(prompts)) <= found.tokens
    assert plan(prompts, math.inf).tokens == whole


@given(PROMPTS, PROMPTS, WORTH)
def test_known_tokens_are_left_out_but_for_what_is_sampled_from(
    prompts: list[tuple[int, ...]], former: list[tuple[int, ...]], worth: float
) -> None:
    kept = distinct_prefixes(former)
    found = plan(prompts, worth, lambda ids: sum(ids[:n] in kept for n in range(1, len(ids) + 1)))
    have = [
        {position for position in range(known) if stem[: position + 1] in kept}
        for stem, known in zip(found.stems, found.known, strict=True)
    ]
    assert [len(positions) for positions in have] == list(found.known)
    computed: set[tuple[int, int]] = set()
    for level in found.levels:
        before = [set(positions) for positions in have]
        for edge in level:
            for stem in edge.stems:
                assert before[stem] >= set(range(edge.start))
                new = range(edge.start, edge.stop)
                assert not {(stem, position) for position in new} & computed
                computed |= {(stem, position) for position in new}
                have[stem] |= set(new)
    for stem, positions in zip(found.stems, have, strict=True):
        assert positions == set(range(len(stem)))
    for prompt, stem in zip(prompts, found.stem_of, strict=True):
        assert (stem, len(prompt) - 1) in computed
    unknown = sum(map(len, found.stems)) - sum(found.known)
    assert found.tokens <= unknown
    if worth == 1:
        assert found.tokens <= plan(prompts).tokens


def test_a_prompt_that_is_known_whole_is_computed_from_its_last_token() -> None:
    found = plan([(1, 2, 3, 4)], 1, len)
    assert found.levels == ((Edge(3, 4, (0,)),),)


def test_what_is_known_whole_is_no_edge_beside_what_is_not() -> None:
    prompts = [(1, 2, 3), (1, 2, 4), (5, 6, 7), (5, 6, 8)]
    found = plan(prompts, 1, lambda ids: 2 if ids[0] == 1 else 0)
    assert found.levels[0] == (Edge(0, 2, (2, 3)),)
    assert [(edge.start, edge.stop) for edge in found.levels[1]] == [(2, 3)] * 4
    assert families([]) == []


def test_a_level_that_saves_little_is_left_out_and_later_ones_stay() -> None:
    solutions = [(1, question, *[9] * 20, *ends) for question in (2, 3) for ends in ((4, 4), (5,))]
    found = plan(solutions, 20)
    assert found.levels[0] == (Edge(0, 22, (0, 1)), Edge(0, 22, (2, 3)))
    assert {edge.stems for edge in found.levels[1]} == {(0,), (1,), (2,), (3,)}
    assert found.tokens == 2 * 22 + 6
    assert [edge.stop for edge in plan(solutions).levels[0]] == [1]


@pytest.mark.parametrize("header", [(), (8,) * 30])
def test_families_stay_together_and_go_by_length(header: tuple[int, ...]) -> None:
    long, short = (1,) * 12, (2, 3, 4, 5)
    prompts = [header + rest for rest in ((*long, 5), (*short, 6), (7, 7), (*long, 4, 4), short)]
    assert families(prompts) == [2, 4, 1, 3, 0]


@given(PROMPTS)
def test_families_name_each_prompt_once_and_equal_ones_side_by_side(
    prompts: list[tuple[int, ...]],
) -> None:
    order = families(prompts)
    assert sorted(order) == list(range(len(prompts)))
    runs = [prompt for prompt, _ in itertools.groupby(prompts[i] for i in order)]
    assert len(runs) == len(set(runs))
