"""Verdict, exact and Monte-Carlo labels, against what is known of the task and the policy."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from iterative_grpo import plugins
from iterative_grpo.types import Completion, Finish, Problem, Prompt, Sampling
from reward_models.labels import exact, monte_carlo, verdict
from reward_models.protocols import Continuing, Tools
from tests.reward_models.labels.chain import PROBLEM, TOKENIZER, ChainEngine, completion, ids, judge


def continuing(engine: ChainEngine, *, group_size: int = 8, max_tokens: int = 8) -> Continuing:
    return Continuing(
        engine,
        {"p0": Prompt("p0", ids(PROBLEM.question))},
        Sampling(group_size, max_tokens, seed=3),
        TOKENIZER,
    )


def test_every_labeler_is_found_by_name() -> None:
    assert {"verdict", "exact", "monte_carlo"} <= set(plugins.names("reward_models.labels"))


def test_verdict_labels_every_end_and_zeroes_a_fragment() -> None:
    labeler = verdict.build(Tools(judge, iteration=4))
    whole, cut = completion("1\n1"), completion("1\n1", finish=Finish.LENGTH)
    rows = labeler.label([PROBLEM] * 3, [whole, cut, completion("1\n2")], [(3,), (2, 3), (2, 3)])
    assert [row.labels for row in rows] == [(1.0,), (1.0, 0.0), (0.0, 0.0)]
    assert [row.correct for row in rows] == [True, True, False]
    assert [row.finished for row in rows] == [True, False, True]
    assert rows[1].counts == ((1, 1), (0, 1))
    assert rows[0].iteration == 4
    assert rows[0].question == PROBLEM.question


def steps_are_ones(problem: Problem, text: str, ends: Sequence[int]) -> list[bool]:
    starts = [0, *ends[:-1]]
    return [text[a:b].strip() == "1" for a, b in zip(starts, ends, strict=True)]


@pytest.mark.parametrize(
    ("text", "ends", "labels"),
    [
        ("1\n1", (2, 3), (1.0, 1.0)),
        # From the first wrong step on, every end is wrong.
        ("1\n2\n1\n1", (2, 4, 6, 7), (1.0, 0.0, 0.0, 0.0)),
        # The verdict decides the last end, right or wrong.
        ("1\n1\n1", (2, 4, 5), (1.0, 1.0, 0.0)),
        ("11", (1, 2), (1.0, 1.0)),
    ],
)
def test_exact_labels(text: str, ends: tuple[int, ...], labels: tuple[float, ...]) -> None:
    labeler = exact.build(Tools(judge, iteration=1, check_steps=steps_are_ones))
    (row,) = labeler.label([PROBLEM], [completion(text)], [ends])
    assert row.labels == labels
    assert row.counts == tuple((int(label), 1) for label in labels)


def test_right_answer_after_a_wrong_derivation_is_visible() -> None:
    labeler = exact.Labeler(judge, lambda problem, text, ends: [False] * len(ends), 1)
    (row,) = labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    assert row.labels == (0.0, 1.0)
    assert row.correct


def test_a_step_check_of_the_wrong_length_is_refused() -> None:
    labeler = exact.Labeler(judge, lambda problem, text, ends: [True], 1)
    with pytest.raises(ValueError, match="p0: the step check returned 1 results for 2 steps"):
        labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])


def test_monte_carlo_estimates_the_known_success_rates() -> None:
    engine = ChainEngine(first=0.5, second=0.75)
    labeler = monte_carlo.build(
        Tools(judge, 2, "policy-hash", continuing=continuing(engine, group_size=2000))
    )
    rows = labeler.label(
        [PROBLEM] * 2, [completion("1\n1"), completion("2\n1", sample=1)], [(2, 3), (2, 3)]
    )
    right, wrong = rows
    # After "1" the second digit decides: 0.75 +- 4 standard deviations of 2000 trials.
    assert right.labels[0] == pytest.approx(0.75, abs=0.04)
    assert wrong.labels[0] == 0.0
    assert right.counts[0][1] == 2000
    assert right.labels[1] == 1.0
    assert wrong.labels[1] == 0.0
    assert right.counts[1] == (1, 1)
    assert right.completer == "policy-hash"
    assert right.labeler == "monte_carlo"


def test_equal_prefixes_are_continued_once() -> None:
    engine = ChainEngine(first=0.5, second=0.5)
    labeler = monte_carlo.build(Tools(judge, 1, continuing=continuing(engine)))
    texts = ["1\n1", "1\n2", "1\n1", "2\n2"]
    rows = labeler.label(
        [PROBLEM] * 4, [completion(t, sample=i) for i, t in enumerate(texts)], [(2, 3)] * 4
    )
    assert len(engine.asked) == 2
    assert rows[0].counts[0] == rows[1].counts[0] == rows[2].counts[0]


def test_prefixes_are_the_sampled_ids() -> None:
    engine = ChainEngine(first=0.5, second=0.5)
    labeler = monte_carlo.build(Tools(judge, 1, continuing=continuing(engine)))
    # The unknown token decodes to nothing special: encoding the text again would lose it.
    odd = Completion("p0", 0, "1\n1", (*ids("1\n"), *ids("1"), 1), Finish.STOP)
    labeler.label([PROBLEM], [odd], [(1, 3)])
    assert engine.asked[0][0] == ids(PROBLEM.question) + odd.token_ids[:1]


def test_a_continuation_beyond_the_limit_has_failed() -> None:
    # Three tokens and EOS fit into 4: after a prefix of 2, two more are left, "1" and EOS.
    fits = ChainEngine(first=1, second=1)
    labeler = monte_carlo.build(Tools(judge, 1, continuing=continuing(fits, max_tokens=4)))
    (row,) = labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    assert row.labels[0] == 1.0
    long = ChainEngine(first=1, second=1, tokens_extra=1)
    labeler = monte_carlo.build(Tools(judge, 1, continuing=continuing(long, max_tokens=4)))
    (row,) = labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    assert row.labels[0] == 0.0


def test_one_end_needs_no_continuation() -> None:
    engine = ChainEngine(first=0.5, second=0.5)
    labeler = monte_carlo.build(Tools(judge, 1, continuing=continuing(engine)))
    (row,) = labeler.label([PROBLEM], [completion("1\n1")], [(3,)])
    assert row.labels == (1.0,)
    assert engine.asked == []


def test_missing_tools_are_named() -> None:
    labeler = monte_carlo.build(Tools(judge, 1))
    with pytest.raises(ValueError, match="needs an engine, prompts, sampling"):
        labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    # Without steps there is nothing to continue.
    assert labeler.label([PROBLEM], [completion("1\n1")], [(3,)])[0].labels == (1.0,)


def test_rows_that_do_not_belong_together_are_refused() -> None:
    labeler = verdict.build(Tools(judge, 1))
    with pytest.raises(ValueError, match="1 problems, 1 completions and 2 lists"):
        labeler.label([PROBLEM], [completion("1\n1")], [(3,), (3,)])
    with pytest.raises(ValueError, match="completion of p0 was given with problem p9"):
        labeler.label([Problem("p9", "q", "1", "d")], [completion("1\n1")], [(3,)])
    with pytest.raises(ValueError, match="do not close a text of 3"):
        labeler.label([PROBLEM], [completion("1\n1")], [(2,)])
