"""Replay: exact shares, strata, no duplicates, nothing read that is not drawn."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.history import (
    BrokenHistory,
    History,
    index_path,
    permuted,
    write_labels,
)
from reward_models.replay import draw_past, mix, outcomes
from reward_models.types import LabeledSolution, read_solutions, to_json
from tests.reward_models.making import solution


def rows_of(iteration: int, positive: int, negative: int) -> list[LabeledSolution]:
    return [
        solution(1000 * iteration + number, right=number < positive, iteration=iteration)
        for number in range(positive + negative)
    ]


def past(folder: Path, sizes: dict[int, tuple[int, int]]) -> list[Path]:
    paths = []
    for iteration, (positive, negative) in sizes.items():
        paths.append(folder / f"{iteration}.jsonl")
        write_labels(paths[-1], rows_of(iteration, positive, negative))
    return paths


@pytest.mark.parametrize(
    ("fresh", "share", "replayed"),
    [(3600, 0.1, 400), (900, 0.1, 100), (9, 0.1, 1), (90, 0.25, 30), (100, 0.5, 100), (50, 0, 0)],
)
def test_share_is_of_the_mixture(tmp_path: Path, fresh: int, share: float, replayed: int) -> None:
    history = past(tmp_path, {1: (300, 300), 2: (200, 400)})
    mixture = mix(rows_of(3, fresh // 2, fresh - fresh // 2), history, share=share, seed=1)
    assert mixture.record.replayed == replayed
    assert len(mixture.rows) == fresh + replayed
    assert mixture.record.share == pytest.approx(share)
    assert replayed / (fresh + replayed) == pytest.approx(share)


def test_strata_are_even_and_the_short_ones_are_made_up_for(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (500, 500), 2: (5, 995), 3: (400, 600)})
    mixture = mix(rows_of(4, 450, 450), history, share=0.1, seed=2)
    drawn = Counter((row.iteration, row.positive) for row in mixture.rows[900:])
    assert drawn.total() == 100
    assert drawn[(2, True)] == 5
    others = [rows for stratum, rows in drawn.items() if stratum != (2, True)]
    assert len(others) == 5
    assert max(others) - min(others) <= 1
    assert mixture.record.ages == {
        1: drawn[(3, True)] + drawn[(3, False)],
        2: drawn[(2, True)] + drawn[(2, False)],
        3: drawn[(1, True)] + drawn[(1, False)],
    }
    assert mixture.record.positive_fresh == 0.5
    assert list(mixture.record.as_row()["ages"]) == ["1", "2", "3"]
    json.dumps(mixture.record.as_row())


def test_rows_of_a_round_come_in_random_order(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (9, 9), 2: (9, 9)})
    drawn = {
        (row.iteration, row.positive)
        for seed in range(60)
        for row in mix(rows_of(3, 4, 5), history, seed=seed).rows[9:]
    }
    # One row a time, of any stratum.
    assert drawn == {(1, False), (1, True), (2, False), (2, True)}


def test_fresh_repeats_count_for_the_share(tmp_path: Path) -> None:
    fresh = rows_of(2, 5, 4) * 10
    record = mix(fresh, past(tmp_path, {1: (50, 50)}), seed=7).record
    assert (record.fresh, record.repeats, record.replayed) == (90, 81, 10)
    assert record.seed == 7


def test_seed_fixes_the_draw(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (50, 50), 2: (50, 50)})
    fresh = rows_of(3, 45, 45)
    assert mix(fresh, history, seed=1).rows == mix(fresh, history, seed=1).rows
    assert mix(fresh, history, seed=1).rows != mix(fresh, history, seed=2).rows
    assert mix(fresh, history, seed=1).rows == mix(fresh, history[::-1], seed=1).rows


def test_every_stored_row_is_equally_likely(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (10, 0)})
    drawn: Counter[str] = Counter()
    for seed in range(600):
        mixture = mix(rows_of(2, 9, 9), history, share=0.1, seed=seed)
        drawn.update(row.problem_id for row in mixture.rows[18:])
    assert drawn.total() == 1200
    # 120 each; five standard deviations of a binomial with p = 1/10.
    assert all(abs(count - 120) < 52 for count in drawn.values())
    assert len(drawn) == 10


@pytest.mark.parametrize("strategy", ["share", "reservoir"])
def test_nothing_is_replayed_twice_and_fresh_repeats_keep_their_weight(
    tmp_path: Path, strategy: str
) -> None:
    shared = [solution(number, right=True, iteration=1) for number in range(4)]
    write_labels(tmp_path / "1.jsonl", shared * 3)
    again = [solution(number, right=True, iteration=2) for number in range(8)]
    write_labels(tmp_path / "2.jsonl", again)
    fresh = [solution(number, right=True, iteration=3) for number in (0, 1, 1, 20, 21, 22)]
    paths = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    mixture = mix(fresh, paths, share=0.8, seed=0, strategy=strategy)
    assert list(mixture.rows[:6]) == fresh
    assert mixture.record.repeats == 1
    replayed = [row.digest for row in mixture.rows[6:]]
    assert len(set(replayed)) == len(replayed) == 6
    assert not {row.digest for row in fresh} & set(replayed)
    # The stored duplicates stay in their file.
    assert len(list(read_solutions(tmp_path / "1.jsonl"))) == 12


def test_short_history_gives_what_it_has(tmp_path: Path) -> None:
    mixture = mix(rows_of(2, 45, 45), past(tmp_path, {1: (3, 1)}), share=0.5, seed=0)
    assert mixture.record.replayed == 4
    assert mixture.record.share == pytest.approx(4 / 94)
    assert mixture.record.wanted_share == 0.5


def test_no_history_is_the_first_iteration() -> None:
    for strategy in ("share", "add", "reservoir", "none"):
        mixture = mix(rows_of(1, 5, 5), [], seed=0, strategy=strategy)
        assert len(mixture.rows) == 10
        assert mixture.record.share == 0
        assert mixture.record.positive_replayed is None


def test_without_fresh_rows_nothing_is_replayed(tmp_path: Path) -> None:
    assert mix([], past(tmp_path, {1: (5, 5)}), seed=0).rows == ()


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_leaves_no_fresh_row_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        mix(rows_of(1, 1, 1), [], share=share, seed=0)


def test_other_strategies(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (100, 100), 2: (20, 180)})
    fresh = rows_of(3, 90, 90)
    none = mix(fresh, history, seed=0, strategy="none").record
    assert (none.replayed, none.wanted_share) == (0, 0)
    assert mix(fresh, history, seed=0, strategy="add").record.replayed == 40
    drawn: Counter[tuple[int, bool]] = Counter()
    for seed in range(100):
        mixture = mix(fresh, history, seed=seed, strategy="reservoir")
        assert mixture.record.replayed == 20
        drawn.update((row.iteration, row.positive) for row in mixture.rows[180:])
    # 2,000 draws in proportion to the strata: 500, 500, 100, 900.
    assert drawn[(1, True)] == pytest.approx(500, abs=90)
    assert drawn[(2, True)] == pytest.approx(100, abs=45)
    assert drawn[(2, False)] == pytest.approx(900, abs=90)


def test_what_is_added_is_a_uniform_sample_of_all_history(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (100, 100), 2: (20, 180)})
    drawn = Counter(
        (row.iteration, row.positive)
        for seed in range(50)
        for row in mix(rows_of(3, 5, 5), history, seed=seed, strategy="add").rows[10:]
    )
    assert drawn.total() == 2000
    assert drawn[(2, True)] == pytest.approx(100, abs=45)


def test_a_share_of_history_is_the_nearest_number_of_rows(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (9, 9), 2: (4, 4)})
    assert mix(rows_of(3, 5, 5), history, seed=0, strategy="add").record.replayed == 3
    # Of the young rows alone: what may not be drawn does not count.
    young = mix(rows_of(3, 5, 5), history, seed=0, strategy="add", max_age=1, share=0.25)
    assert young.record.replayed == 2


def test_unknown_strategy_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'shares'.*Did you mean 'share'.*reservoir"):
        mix([], [], seed=0, strategy="shares")


def test_stale_rows_are_left_out(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (50, 50), 2: (50, 50), 3: (50, 50)})
    mixture = mix(rows_of(4, 45, 45), history, seed=0, max_age=2)
    assert set(mixture.record.ages) == {1, 2}
    assert mixture.record.too_old == 1
    assert mixture.record.history == 300


def test_history_from_the_future_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is of iteration 3, the fresh rows of 3"):
        mix(rows_of(3, 5, 5), past(tmp_path, {3: (5, 5)}), seed=0)


def test_only_drawn_rows_are_read(tmp_path: Path) -> None:
    (path,) = past(tmp_path, {1: (50, 50)})
    mixture = mix(rows_of(2, 5, 4), [path], seed=0)
    drawn = {to_json(row).encode() for row in mixture.rows[9:]}
    assert len(drawn) == 1
    # Every other row becomes rubbish of the same size: the draw must not notice.
    lines = [line if line in drawn else b"x" * len(line) for line in path.read_bytes().split(b"\n")]
    path.write_bytes(b"\n".join(lines))
    assert mix(rows_of(2, 5, 4), [path], seed=0).rows == mixture.rows


def cut_labels(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def edit_labels(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"and 1?", b"and 2?"))


def cut_index(path: Path) -> None:
    index = index_path(path)
    index.write_bytes(index.read_bytes()[:-1])


def newer_index(path: Path) -> None:
    index = index_path(path)
    index.write_bytes(index.read_bytes().replace(b'"version": 1', b'"version": 2'))


def longer_labels(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def longer_index(path: Path) -> None:
    index = index_path(path)
    index.write_bytes(index.read_bytes() + b"\0")


def no_iteration(path: Path) -> None:
    index = index_path(path)
    index.write_bytes(index.read_bytes().replace(b'"iteration"', b'"round"'))


def no_index(path: Path) -> None:
    index_path(path).unlink()


def other_index(path: Path) -> None:
    index_path(path).write_bytes(b"not json\n")


def index_of_a_list(path: Path) -> None:
    index_path(path).write_bytes(b"[1]\n")


def index_without_version(path: Path) -> None:
    index_path(path).write_bytes(b'{"rows": 40}\n')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_labels, "the file was cut or edited"),
        (edit_labels, "are not those that were indexed"),
        (longer_labels, "the file was cut or edited"),
        (cut_index, "the index was cut"),
        (longer_index, r"\d+ bytes, expected \d+"),
        (no_iteration, r"index:1: missing iteration"),
        (newer_index, "written in format 2"),
        (no_index, r"1\.jsonl\.index: not found"),
        (other_index, "not an index"),
        (index_of_a_list, "not an index"),
        (index_without_version, "not an index"),
        (Path.unlink, r"1\.jsonl: not found"),
    ],
)
def test_damaged_history_is_told(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    (path,) = past(tmp_path, {1: (20, 20)})
    damage(path)
    with pytest.raises(BrokenHistory, match=message):
        mix(rows_of(2, 20, 20), [path], seed=0)


def test_empty_history_file(tmp_path: Path) -> None:
    write_labels(tmp_path / "0.jsonl", [])
    assert mix(rows_of(2, 5, 5), [tmp_path / "0.jsonl"], seed=0).record.replayed == 0


def test_two_iterations_do_not_share_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"iterations \[1, 2\] in one labels file"):
        write_labels(tmp_path / "x.jsonl", [*rows_of(1, 1, 1), *rows_of(2, 1, 1)])


def test_index_reads_what_was_written(tmp_path: Path) -> None:
    rows = rows_of(7, 3, 5)
    write_labels(tmp_path / "7.jsonl", rows)
    with History(tmp_path / "7.jsonl") as history:
        assert [stratum.rows for stratum in history.strata] == [5, 3]
        assert [history.read(row) for row in range(8)] == rows[3:] + rows[:3]


def test_duplicates_are_no_rows_to_draw(tmp_path: Path) -> None:
    rows = rows_of(1, 2, 3)
    assert write_labels(tmp_path / "1.jsonl", rows * 3) == 15
    with History(tmp_path / "1.jsonl") as history:
        assert history.rows == 15
        assert [stratum.rows for stratum in history.strata] == [3, 2]


@given(st.integers(0, 40), st.integers(0, 2**32))
def test_permuted_is_a_permutation(rows: int, seed: int) -> None:
    generator = random.Random(seed)
    assert sorted(permuted(rows, iter(generator.random, 2.0))) == list(range(rows))


def test_every_permutation_is_equally_likely() -> None:
    # The middles of twelve equal parts of [0, 1), in all combinations: 4, 3, and 2 divide twelve.
    middles = [(part + 0.5) / 12 for part in range(12)]
    found = Counter(
        tuple(permuted(4, iter([*draws, 0.0]))) for draws in itertools.product(middles, repeat=3)
    )
    assert list(found.values()) == [12**3 // 24] * 24


def test_a_long_history_costs_no_more_than_a_short_one(tmp_path: Path) -> None:
    import time
    import tracemalloc

    # Twenty iterations of 1,500 rows with texts of 2 kB, or two of them.
    for iteration in range(1, 21):
        rows = [
            solution(
                number,
                right=number % 2 == 0,
                iteration=iteration,
                text=f"{iteration}/{number} " + "x" * 2000,
            )
            for number in range(1500)
        ]
        write_labels(tmp_path / f"{iteration}.jsonl", rows)
    fresh = [
        solution(number, right=number % 2 == 0, iteration=21, text=f"21/{number} " + "x" * 2000)
        for number in range(1500)
    ]

    def cost(iterations: int) -> tuple[float, int]:
        paths = [tmp_path / f"{number}.jsonl" for number in range(1, iterations + 1)]
        seconds = []
        for _ in range(5):
            started = time.process_time()
            assert mix(fresh, paths, seed=0).record.replayed == 167
            seconds.append(time.process_time() - started)
        tracemalloc.start()
        mix(fresh, paths, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return min(seconds), peak

    short, long = cost(2), cost(20)
    # Eighteen more files are opened and their headers read; the history is 60 MB.
    assert long[0] < short[0] + 0.05
    assert long[1] < short[1] * 1.1 + 300_000


def test_replayed_rows_can_be_relabeled(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (50, 50)})

    def turned(rows: Sequence[LabeledSolution]) -> list[LabeledSolution]:
        return [
            dataclasses.replace(row, labels=(1 - row.labels[0],), labeler="again") for row in rows
        ]

    plain = mix(rows_of(2, 45, 45), history, seed=0)
    again = mix(rows_of(2, 45, 45), history, seed=0, relabel=turned)
    assert again.rows[:90] == plain.rows[:90]
    assert [row.text for row in again.rows] == [row.text for row in plain.rows]
    assert [row.labels[0] for row in again.rows[90:]] == [1 - r.labels[0] for r in plain.rows[90:]]
    assert {row.labeler for row in again.rows[90:]} == {"again"}
    with pytest.raises(ValueError, match="returned others"):
        mix(rows_of(2, 45, 45), history, seed=0, relabel=lambda rows: rows[1:])
    with pytest.raises(ValueError, match="returned others"):
        mix(rows_of(2, 45, 45), history, seed=0, relabel=lambda rows: rows[::-1])


def test_outcomes_keep_what_does_not_age(tmp_path: Path) -> None:
    row = solution(1, right=True, text="1+1=2\n#### 2")
    steps = dataclasses.replace(
        row, ends=(6, 12), labels=(0.25, 1.0), counts=((2, 8), (1, 1)), completer="policy 1"
    )
    exact = dataclasses.replace(steps, completer="", labeler="exact", text="1+1=2\n#### 3")
    aged, kept = outcomes([steps, exact])
    assert (aged.ends, aged.labels, aged.counts) == ((12,), (1.0,), ((1, 1),))
    assert kept == exact
    write_labels(tmp_path / "1.jsonl", [steps, exact])
    mixture = mix(rows_of(2, 45, 45), [tmp_path / "1.jsonl"], seed=0, relabel=outcomes)
    assert {len(row.ends) for row in mixture.rows[90:]} == {1, 2}


def test_draws_of_the_past_are_even_and_distinct(tmp_path: Path) -> None:
    history = past(tmp_path, {1: (300, 300), 2: (5, 400), 3: (0, 50)})
    drawn = draw_past(history, 110, seed=0)
    counts = Counter((row.iteration, row.positive) for row in drawn)
    # Of five strata the short one gives all it has, the others share the rest evenly.
    assert counts[2, True] == 5
    assert sorted(counts.values()) == [5, 26, 26, 26, 27]
    assert len({row.digest for row in drawn}) == 110
    assert draw_past(history, 110, seed=0) == drawn
    assert draw_past(history, 110, seed=1) != drawn
    assert draw_past(history, 10_000, seed=0) != drawn
    assert len(draw_past(history, 10_000, seed=0)) == 1055
    assert draw_past([], 10, seed=0) == ()
