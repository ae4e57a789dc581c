"""Rows that share a place in the cache are the rows that they are alone, at any order of forks."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch

from iterative_grpo.engines import _branches, native
from iterative_grpo.engines._branches import Branches
from iterative_grpo.engines._shared_cache import BLOCK, SharedCache
from iterative_grpo.types import Completion, Finish, Prompt, Sampling
from tests.iterative_grpo.engines import tiny
from tests.iterative_grpo.engines.test_native import ENDING, counted_tokens

# Cold enough that rows stay together for a while.
COLD = Sampling(8, 40, temperature=0.1, seed=3)


def repeated() -> list[Prompt]:
    """Prompts of which one begins with another, and one comes twice."""
    question, tail, *others = (p.token_ids for p in tiny.prompts(9, 6, 3, 14, 20))
    ids = [question, question + tail[:2], *others, question]
    return [Prompt(f"p{i}", token_ids) for i, token_ids in enumerate(ids)]


def histories(groups: list[list[Completion]]) -> int:
    """Return how many tokens behind prompts have something drawn behind them, each once."""
    return sum(
        len({c.token_ids[:n] for c in group for n in range(1, len(c.token_ids))})
        for group in groups
    )


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("fuse", [True, False])
def test_rows_are_what_they_are_alone(family: str, fuse: bool) -> None:
    model = tiny.model(family, eos=ENDING)
    prompts = repeated()
    shared, alone = (
        native.load(model, tiny.NoEos(), share_branches=share, fuse_layers=fuse).generate(
            prompts, COLD
        )
        for share in (True, False)
    )
    for completion, other in zip(itertools.chain(*shared), itertools.chain(*alone), strict=True):
        assert completion.token_ids == other.token_ids
        assert completion.finish is other.finish
        assert completion.logps == pytest.approx(other.logps, abs=2e-4)
    drawn = sum(len(c.token_ids) - 1 for group in shared for c in group)
    assert histories(shared) < 0.75 * drawn


def test_requests_of_unlike_samplings_keep_their_own() -> None:
    model = tiny.model("qwen2", eos=ENDING)
    prompts = repeated()
    samplings = [
        Sampling(6, 30, temperature=0.3),
        Sampling(5, 12, temperature=0.7, top_k=3, seed=1),
        Sampling(4, 40, temperature=0),
        Sampling(7, 9, temperature=0.8, top_p=0.6),
        Sampling(1, 25, temperature=0.5, seed=4),
        Sampling(6, 30, temperature=0.3),
    ]
    shared, alone = (
        native.load(model, tiny.NoEos(), share_branches=share).generate(prompts, samplings)
        for share in (True, False)
    )
    assert [[c.token_ids for c in g] for g in shared] == [[c.token_ids for c in g] for g in alone]
    assert [len(group) for group in shared] == [6, 5, 4, 7, 1, 6]


def test_branches_are_computed_once_for_all_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_branches, "_APART", 1.0)
    monkeypatch.setattr(_branches, "_EMPTY_SHARE", 0.0)
    model = tiny.model("llama", eos=ENDING)
    prompts = tiny.prompts(9, 14, 3)
    with counted_tokens(model) as counts:
        groups = native.load(model, tiny.NoEos(), fuse_layers=False).generate(prompts, COLD)
    # Of a place that nobody is left at, nothing is computed, and nothing twice.
    continued = [
        [Completion("", 0, "", c.token_ids, Finish.STOP) for c in group] for group in groups
    ]
    assert sum(counts) == 26 + histories(continued)


def test_greedy_rows_of_a_group_are_one_branch() -> None:
    model = tiny.model("llama")
    with counted_tokens(model) as counts:
        (group,) = native.load(model, tiny.NoEos()).generate(
            tiny.prompts(7), Sampling(5, 6, temperature=0)
        )
    assert counts == [7, 1, 1, 1, 1, 1]
    assert len({c.token_ids for c in group}) == 1


def test_rows_that_parted_early_are_no_longer_compared() -> None:
    model = tiny.model("llama")
    prompts = tiny.prompts(5, 11)
    with counted_tokens(model) as counts:
        native.load(model, tiny.NoEos()).generate(prompts, Sampling(6, 12, temperature=3.0))
    assert counts[1] <= 12
    assert counts[4:] == [12] * len(counts[4:])


def test_stop_strings_end_shared_rows() -> None:
    model = tiny.model("llama")
    sampling = Sampling(8, 20, temperature=0.5, stop=("w7", "w12 w"))
    shared, alone = (
        native.load(model, tiny.tokenizer(), share_branches=share).generate(repeated(), sampling)
        for share in (True, False)
    )
    assert [[(c.token_ids, c.text, c.finish) for c in g] for g in shared] == [
        [(c.token_ids, c.text, c.finish) for c in g] for g in alone
    ]
    assert len({c.finish for c in itertools.chain(*shared)}) == 2


@pytest.mark.parametrize("seed", range(80))
@pytest.mark.parametrize("share", [True, False])
def test_every_place_holds_what_its_rows_drew(
    seed: int, share: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are the tokens themselves, so that places can be read; draws and endings are random."""
    draw = random.Random(seed)
    monkeypatch.setattr(_branches, "_APART", draw.choice([0.3, 0.75, 1.0]))
    monkeypatch.setattr(_branches, "_EMPTY_SHARE", draw.choice([0.0, 0.1, 0.5]))
    groups = [draw.randint(1, 9) for _ in range(draw.randint(1, 6))]
    stems = [draw.randrange(max(1, len(groups) - 1)) for _ in groups]
    steps, choices = BLOCK + 6, draw.choice([2, 3])
    cache = SharedCache(layers=1, stems=len(groups), longest=4, max_tokens=steps)
    layer = cache.shared[0]
    own_stem = torch.arange(len(groups), dtype=torch.float32)[:, None, None, None]
    layer.prompt_keys = layer.prompt_values = own_stem.expand(-1, 1, 4, 1).clone()
    lengths = [draw.randint(1, 4) for _ in groups]
    limits = [draw.choice([steps, draw.randint(1, steps)]) for _ in groups]
    last = {
        stem: max(a + b - 1 for s, a, b in zip(stems, lengths, limits, strict=True) if s == stem)
        for stem in stems
    }
    device = torch.device("cpu")
    branches = Branches(cache, stems, lengths, limits, groups, device, share)
    prompt_of = [prompt for prompt, group in enumerate(groups) for _ in range(group)]
    said: list[list[int]] = [[] for _ in prompt_of]
    ended: dict[int, int] = {}
    over: set[int] = set()
    for step in range(steps):
        rows = branches.row_R.tolist()
        tokens = [draw.choice([1] * 6 + list(range(2, 2 + choices))) for _ in rows]
        for row, token in zip(rows, tokens, strict=True):
            said[row].append(token)
        # Now and then many end at once.
        ending = draw.choice([0.02] * 9 + [0.4])
        done = [draw.random() < ending for _ in rows]
        branches.far_done_R |= torch.tensor(done, dtype=torch.bool)
        places_before = len(branches.positions)
        (drawn,) = branches.look([torch.tensor(tokens)])
        # Whose text ends it, is found out by who has looked.
        branches.done_R |= np.array([draw.random() < 0.02 for _ in rows])
        finished = [row for row, last in zip(rows, branches.done_R.tolist(), strict=True) if last]
        assert over & set(rows) <= set(finished)
        over |= set(finished)
        laid_out = cache.rows
        asked = branches.advance(torch.tensor(tokens), drawn)
        left = branches.row_R.tolist()
        gone = [row for row in finished if row not in left]
        ended |= {row: min(step + 1, limits[prompt_of[row]]) for row in gone}
        assert set(rows) - set(left) <= set(finished)
        if not left:
            break
        # Rows that have not moved are not laid out anew.
        assert (cache.rows is laid_out) == (asked.sources is None)
        if asked.sources is not None:
            assert asked.sources.tolist() != list(range(places_before))
        places = branches.place_R.tolist()
        assert [int(asked.tokens[place]) for place in places] == [said[row][-1] for row in left]
        stored = asked.tokens.float()[:, None, None, None]
        layer.store(stored, stored)
        for row, place in zip(left, places, strict=True):
            blocks = [keys[place, 0, :, 0] for keys, _ in layer.own]
            assert torch.cat(blocks)[: step + 1].int().tolist() == said[row]
            assert cache.rows is not None
            stem = int(cache.rows.stem_B[place])
            assert int(layer.prompt_keys[stem, 0, 0, 0]) == stems[prompt_of[row]]
            prompt = prompt_of[row]
            reached = min(step, limits[prompt] - 1)
            assert int(branches.positions[place]) == lengths[prompt] + reached
        # Nobody asks for a position behind its limit, and stems that nobody continues are gone.
        assert cache.rows is not None
        for stem, position in zip(cache.rows.stem_B, branches.positions.tolist(), strict=True):
            assert position <= last[int(layer.prompt_keys[stem, 0, 0, 0])]
        if not branches.shared and len(asked.tokens) < places_before:
            assert cache.stems == len({stems[prompt_of[row]] for row in left})
        if share and branches.shared:
            live = {(prompt_of[row], *said[row]) for row in left}
            assert len(set(places)) == len(live)
        else:
            assert places == list(range(len(left)))
        cache.length = step + 1
    assert {row: int(branches.reached_B[row]) for row in ended} == ended


@pytest.mark.parametrize("share", [True, False])
def test_rows_beyond_their_limit_ask_for_no_position_that_is_not_there(share: bool) -> None:
    """One row ends at once and is carried along; the model has no position behind the longest."""
    model = tiny.model("gpt2").eval()
    prompts = tiny.prompts(80, 3)
    samplings = [Sampling(1, 16, seed=1), Sampling(40, 60, temperature=1.5)]
    engine = native.load(model, tiny.NoEos(), share_branches=share)
    one, many = engine.generate(prompts, samplings)
    assert [len(c.token_ids) for c in one] == [16]
    assert [len(c.token_ids) for c in many] == [60] * 40
