"""Verdict, exact and Monte-Carlo labels, against what is known of the task and the policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

import pytest
from scipy.stats import beta

from iterative_grpo import plugins
from iterative_grpo.engines._endings import check_prompts
from iterative_grpo.engines._requests import per_prompt
from iterative_grpo.protocols import Engine, Samplings
from iterative_grpo.types import Completion, Finish, Problem, Prompt, Sampling
from reward_models.labels import exact, first_error, monte_carlo, verdict
from reward_models.labels._rollouts import Rollouts
from reward_models.protocols import Continuing, Tools
from tests.reward_models.labels.chain import (
    PROBLEM,
    TOKENIZER,
    ChainEngine,
    completion,
    ids,
    verify,
)


def continuing(engine: Engine, *, group_size: int = 8, max_tokens: int = 8) -> Continuing:
    return Continuing(
        engine,
        {"p0": Prompt("p0", ids(PROBLEM.question))},
        Sampling(group_size, max_tokens, seed=3),
        TOKENIZER,
    )


def naive(engine: ChainEngine, **sampling: int) -> monte_carlo.Labeler:
    """Math-Shepherd as published: all continuations of every prefix, nothing shared."""
    return monte_carlo.Labeler(
        verify, continuing(engine, **sampling), 2, "policy-hash", share=False, confidence=1
    )


def test_every_labeler_is_found_by_name() -> None:
    assert plugins.names("reward_models.labels") == [
        "exact",
        "first_error",
        "monte_carlo",
        "verdict",
    ]


def test_verdict_labels_every_end_and_zeroes_a_fragment() -> None:
    labeler = verdict.build(Tools(verify, iteration=4))
    whole, cut = completion("1\n1"), completion("1\n1", finish=Finish.LENGTH)
    texts = [whole, cut, completion("1\n2")]
    rows, cost = labeler.label([PROBLEM] * 3, texts, [(3,), (2, 3), (2, 3)])
    assert (cost.labels, cost.rollouts) == (2, 0)
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
    labeler = exact.build(Tools(verify, iteration=1, check_steps=steps_are_ones))
    ((row,), _) = labeler.label([PROBLEM], [completion(text)], [ends])
    assert row.labels == labels
    assert row.counts == tuple((int(label), 1) for label in labels)
    assert (row.iteration, row.labeler, row.completer) == (1, "exact", "")


def test_right_answer_after_a_wrong_derivation_is_visible() -> None:
    wrong = exact.one_by_one(lambda problem, text, ends: [False] * len(ends))
    labeler = exact.Labeler(verify, wrong, 1)
    ((row,), _) = labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    assert row.labels == (0.0, 1.0)
    assert row.correct


def test_only_solutions_with_several_steps_are_checked() -> None:
    """The last end has the verdict: under outcome supervision there is no other."""
    asked: list[str] = []

    def check(problem: Problem, text: str, ends: Sequence[int]) -> list[bool]:
        asked.append(text)
        return [True] * len(ends)

    labeler = exact.build(Tools(verify, iteration=1, check_steps=check))
    texts, ends = ("11", "1\n1", "2"), [(2,), (2, 3), (1,)]
    rows, cost = labeler.label([PROBLEM] * 3, [completion(text) for text in texts], ends)
    assert [row.labels for row in rows] == [(1.0,), (1.0, 1.0), (0.0,)]
    assert asked == ["1\n1"]
    assert cost.labels == 1


def test_written_equations_are_checked_where_a_data_set_has_no_check() -> None:
    labeler = exact.build(Tools(verify, iteration=1))
    texts, ends = ("2+2=4\n4+1=6\n1", "2+2=4\n\n1"), [(6, 12, 13), (6, 7, 8)]
    rows, _ = labeler.label([PROBLEM] * 2, [completion(text) for text in texts], ends)
    assert [row.labels[:-1] for row in rows] == [(1.0, 0.0), (1.0, 1.0)]


def test_a_step_check_of_the_wrong_length_is_refused() -> None:
    labeler = exact.Labeler(verify, exact.one_by_one(lambda problem, text, ends: [True]), 1)
    with pytest.raises(ValueError, match="p0: the step check returned 1 results for 2 steps"):
        labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    labeler = exact.Labeler(verify, exact.one_by_one(lambda problem, text, ends: [True] * 3), 1)
    with pytest.raises(ValueError, match="p0: the step check returned 3 results for 2 steps"):
        labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])


def test_monte_carlo_estimates_the_known_success_rates() -> None:
    engine = ChainEngine(first=0.5, second=0.75)
    labeler = naive(engine, group_size=2000)
    rows, _ = labeler.label(
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
    labeler = naive(engine)
    texts = ["1\n1", "1\n2", "1\n1", "2\n2"]
    rows, cost = labeler.label(
        [PROBLEM] * 4, [completion(t, sample=i) for i, t in enumerate(texts)], [(2, 3)] * 4
    )
    assert len(engine.asked) == 2
    assert rows[0].counts[0] == rows[1].counts[0] == rows[2].counts[0]
    # Nothing is shared but that: a rollout counts for the prefix that it was made for.
    assert (cost.prefixes, cost.rollouts, cost.reused) == (2, 16, 0)


def test_prefixes_are_the_sampled_ids() -> None:
    engine = ChainEngine(first=0.5, second=0.5)
    labeler = monte_carlo.build(Tools(verify, 1, continuing=continuing(engine)))
    # The unknown token decodes to nothing special: encoding the text again would lose it.
    odd = Completion("p0", 0, "1\n1", (*ids("1\n"), *ids("1"), 1), Finish.STOP)
    labeler.label([PROBLEM], [odd], [(1, 3)])
    assert engine.asked[0][0] == ids(PROBLEM.question) + odd.token_ids[:1]


def test_a_continuation_beyond_the_limit_has_failed() -> None:
    # Three tokens and EOS fit into 4: after a prefix of 2, two more are left, "1" and EOS.
    fits = ChainEngine(first=1, second=1)
    labeler = naive(fits, max_tokens=4)
    ((row,), _) = labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    assert row.labels[0] == 1.0
    long = ChainEngine(first=1, second=1, tokens_extra=1)
    labeler = naive(long, max_tokens=4)
    ((row,), _) = labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    assert row.labels[0] == 0.0


def test_a_prefix_that_fills_the_limit_has_failed_without_being_sampled() -> None:
    engine = ChainEngine(first=1, second=1)
    full = ("p0", ids("1\n1"))
    rollouts = Rollouts([full], {"p0": "11"}, verify, continuing(engine, max_tokens=3))
    rollouts.sample({full: 5})
    assert rollouts.count(full) == (0, 5)
    assert rollouts.cost.rollouts == 0
    assert not any(engine.calls)


def test_one_end_needs_no_continuation() -> None:
    engine = ChainEngine(first=0.5, second=0.5)
    labeler = monte_carlo.build(Tools(verify, 1, continuing=continuing(engine)))
    ((row,), _) = labeler.label([PROBLEM], [completion("1\n1")], [(3,)])
    assert row.labels == (1.0,)
    assert engine.asked == []


def test_missing_tools_are_named() -> None:
    labeler = monte_carlo.build(Tools(verify, 1))
    with pytest.raises(ValueError, match="needs an engine, prompts, sampling"):
        labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    # Without steps there is nothing to continue.
    assert labeler.label([PROBLEM], [completion("1\n1")], [(3,)])[0][0].labels == (1.0,)


@pytest.mark.parametrize("name", plugins.names("reward_models.labels"))
def test_the_labelers_that_say_so_need_the_policy_for_steps(name: str) -> None:
    module = plugins.find("reward_models.labels", name)
    rows = [PROBLEM], [completion("1\n1")], [(2, 3)]
    try:
        module.build(Tools(verify, 1)).label(*rows)
    except ValueError as error:
        continues = "CONTINUES = True" in str(error)
    else:
        continues = False
    assert getattr(module, "CONTINUES", False) is continues


def test_rows_that_do_not_belong_together_are_refused() -> None:
    labeler = verdict.build(Tools(verify, 1))
    with pytest.raises(ValueError, match="1 problems, 1 completions and 2 lists"):
        labeler.label([PROBLEM], [completion("1\n1")], [(3,), (3,)])
    with pytest.raises(ValueError, match="completion of p0 was given with problem p9"):
        labeler.label([Problem("p9", "q", "1", "d")], [completion("1\n1")], [(3,)])
    with pytest.raises(ValueError, match="do not close a text of 3"):
        labeler.label([PROBLEM], [completion("1\n1")], [(2,)])
    with pytest.raises(ValueError, match=r"ends \[\] do not close a text of 3"):
        labeler.label([PROBLEM], [completion("1\n1")], [()])


def test_completions_and_shorter_prefixes_rollouts_are_trials_too() -> None:
    # Steps "1", "\n", "1": every rollout of the first prefix passes through the second.
    engine = ChainEngine(first=1.0, second=0.5)
    labeler = monte_carlo.Labeler(verify, continuing(engine, group_size=40), 1, "", confidence=1)
    texts = [completion("1\n1", sample=0), completion("1\n2", sample=1)]
    rows, cost = labeler.label([PROBLEM] * 2, texts, [(1, 2, 3)] * 2)
    assert rows[0].counts[0] == rows[0].counts[1] == rows[1].counts[0]
    assert rows[0].counts[0][1] == 40
    # Two trials are the completions themselves; 38 were sampled, for the first prefix alone.
    assert cost.rollouts == 38
    assert cost.tokens == engine.tokens == 38 * 3
    assert (cost.prefixes, cost.labels) == (2, 4)
    assert cost.reused == 2 * 2 + 38
    assert cost.tokens_per_label == 38 * 3 / 4
    assert len({ids for ids, _ in engine.asked}) == 1


def test_a_round_is_one_call_whatever_its_prefixes_need() -> None:
    engine = ChainEngine(first=0.5, second=0.5)
    labeler = monte_carlo.Labeler(verify, continuing(engine, group_size=40), 1, "", confidence=1)
    texts = [completion(text, sample=i) for i, text in enumerate(["1\n1", "1\n2", "2\n1"])]
    rows, cost = labeler.label([PROBLEM] * 3, texts, [(2, 3), (2, 3), (1, 3)])
    assert [row.counts[0][1] for row in rows] == [40, 40, 40]
    # Two completions are trials of the first prefix, one of the second; prefixes of two tokens and
    # of one leave so many of eight.
    (call,) = engine.calls
    assert [(own.group_size, own.max_tokens) for own in call] == [(38, 6), (39, 7)]
    assert cost.rollouts == 77


class RememberingEngine(ChainEngine):
    """Notes at each call how long it remembers already."""

    depth = 0

    @contextmanager
    def remembering(self) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        assert self.depth == 1
        return super().generate(prompts, sampling)


@pytest.mark.parametrize("labeler", [monte_carlo, first_error])
def test_an_engine_that_can_remembers_the_prompts_of_all_rounds(labeler: ModuleType) -> None:
    engine = RememberingEngine(0.5, 0.5)
    made = labeler.build(Tools(verify, iteration=2, continuing=continuing(engine)))
    made.label([PROBLEM], [completion("2\n1")], [(2, 3)])
    assert engine.calls
    assert engine.depth == 0


def test_a_rollout_says_nothing_of_prefixes_it_was_steered_past() -> None:
    # Labels of "2": continuing "2\n" must not count for a policy that never writes it.
    engine = ChainEngine(first=1.0, second=1.0)
    labeler = monte_carlo.Labeler(verify, continuing(engine, group_size=5), 1, "", confidence=1)
    texts = [completion("1\n1"), completion("2\n1", sample=1)]
    rows, _ = labeler.label([PROBLEM] * 2, texts, [(2, 3), (1, 2, 3)])
    assert rows[0].counts[0] == (5, 5)
    assert rows[1].counts[:2] == ((0, 5), (0, 5))


def test_shared_labels_are_unbiased() -> None:
    # Completions sampled by the policy itself; the label of "1" is the chance of the second digit.
    engine = ChainEngine(first=0.5, second=0.3)
    seen = [0, 0]
    for seed in range(300):
        group = engine.generate([Prompt("p0", ids(PROBLEM.question))], Sampling(4, 8, seed=seed))[0]
        tools = replace(
            continuing(engine, group_size=6), sampling=Sampling(6, 8, seed=10_000 + seed)
        )
        labeler = monte_carlo.Labeler(verify, tools, 1, "", confidence=1)
        rows, _ = labeler.label([PROBLEM] * 4, group, [(2, 3)] * 4)
        right = [row for row in rows if row.text.startswith("1")]
        if right:
            seen[0] += right[0].counts[0][0]
            seen[1] += right[0].counts[0][1]
    # About 280 x 6 trials: four standard deviations are 0.045.
    assert seen[0] / seen[1] == pytest.approx(0.3, abs=0.045)


def test_decided_prefixes_are_left_alone() -> None:
    engine = ChainEngine(first=1.0, second=1.0)
    labeler = monte_carlo.Labeler(verify, continuing(engine, group_size=32), 1, "", share=False)
    ((row,), _) = labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    # 4 of 4: P(rate < 1/2) = 2^-5 < 0.05.
    assert row.counts[0] == (4, 4)
    trials = []
    for seed in range(20):
        tools = continuing(ChainEngine(first=1.0, second=0.5), group_size=32)
        tools = replace(tools, sampling=replace(tools.sampling, seed=seed))
        even = monte_carlo.Labeler(verify, tools, 1, "", share=False)
        trials.append(even.label([PROBLEM], [completion("1\n1")], [(2, 3)])[0][0].counts[0][1])
    # An even coin shows four alike in one run of eight.
    assert sum(trials) / 20 > 8
    assert max(trials) == 32


def test_rounds_draw_other_continuations() -> None:
    # With one seed for all rounds a coin that came up once would come up always.
    engine = ChainEngine(first=1.0, second=0.5)
    labeler = monte_carlo.Labeler(
        verify, continuing(engine, group_size=400), 1, "", confidence=0.999999, at_once=1
    )
    ((row,), _) = labeler.label([PROBLEM], [completion("1\n1")], [(2, 3)])
    assert row.counts[0][1] == 400
    assert row.labels[0] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.99])
def test_decision_is_the_beta_interval(confidence: float) -> None:
    tail = (1 - confidence) / 2
    for trials in range(17):
        for successes in range(trials + 1):
            posterior = beta(1 + successes, 1 + trials - successes)
            low, high = posterior.ppf(tail), posterior.ppf(1 - tail)
            found = monte_carlo.decided(successes, trials, confidence)
            assert found == (low > 0.5 or high < 0.5), (successes, trials)


def test_first_error_is_found_by_halving() -> None:
    # "1", "1", "2" (wrong), then anything: prefixes are right while they hold ones alone.
    text = "\n".join(["1"] * 5 + ["2"] + ["1"] * 10)
    starts = range(0, 32, 2)
    ends = tuple(min(start + 2, len(text)) for start in starts)
    engine = OnesEngine(len(ends))
    tools = continuing(engine, max_tokens=64)
    problem = replace(PROBLEM, answer="1" * len(ends))
    labeler = first_error.build(Tools(verify, 3, "hash", continuing=tools))
    rows, cost = labeler.label([problem], [completion(text)], [ends])
    assert rows[0].labels == (1.0,) * 5 + (0.0,) * 11
    assert cost.prefixes == 15
    # 15 prefixes have 16 outcomes: four halvings.
    assert len(set(engine.asked)) <= 4
    assert rows[0].labeler == "first_error"


def test_first_error_trusts_right_solutions() -> None:
    engine = ChainEngine(first=0.0, second=0.0)
    labeler = first_error.build(Tools(verify, 3, continuing=continuing(engine)))
    rows, _ = labeler.label([PROBLEM] * 2, [completion("1\n1"), completion("2\n2")], [(2, 3)] * 2)
    assert rows[0].labels == (1.0, 1.0)
    assert rows[1].labels == (0.0, 0.0)
    assert all(asked[-2] != ids("1")[0] for asked, _ in engine.asked)


def test_first_error_needs_few_prefixes_though_nothing_is_shared() -> None:
    # Continuations in one line pass through no other prefix.
    text = "\n".join(["1"] * 14 + ["2", "1"])
    ends = tuple(min(start + 2, len(text)) for start in range(0, 32, 2))
    engine = OnesEngine(len(ends), between="")
    labeler = first_error.build(Tools(verify, 3, continuing=continuing(engine, max_tokens=64)))
    problem = replace(PROBLEM, answer="1" * len(ends))
    rows, _ = labeler.label([problem], [completion(text)], [ends])
    assert rows[0].labels == (1.0,) * 14 + (0.0,) * 2
    assert len(set(engine.asked)) == 4


def test_first_error_finds_none_in_what_is_right_but_was_cut_off() -> None:
    engine = ChainEngine(first=0.0, second=0.0)
    labeler = first_error.build(Tools(verify, 3, continuing=continuing(engine)))
    cut = completion("1\n1", finish=Finish.LENGTH)
    ((row,), cost) = labeler.label([PROBLEM], [cut], [(2, 3)])
    assert row.labels == (1.0, 0.0)
    assert (cost.rollouts, cost.labels, engine.asked) == (0, 1, [])


def test_first_error_looks_after_every_four_continuations_up_to_the_limit() -> None:
    engine = ChainEngine(first=1.0, second=0.0)
    labeler = first_error.build(Tools(verify, 3, continuing=continuing(engine, group_size=7)))
    ((row,), cost) = labeler.label([PROBLEM], [completion("1\n2")], [(2, 3)])
    # One trial is the completion itself.
    assert [own.group_size for call in engine.calls for own in call] == [4, 2]
    assert (row.counts[0], row.labels, cost.rollouts) == ((0, 7), (0.0, 0.0), 6)
    lucky = ChainEngine(first=1.0, second=1.0)
    labeler = first_error.build(Tools(verify, 3, continuing=continuing(lucky, group_size=7)))
    ((row,), cost) = labeler.label([PROBLEM], [completion("1\n2")], [(2, 3)])
    assert (row.counts[0], row.labels, cost.rollouts) == ((4, 5), (1.0, 0.0), 4)


def test_a_right_solution_settles_the_prefixes_of_a_wrong_one() -> None:
    engine = ChainEngine(first=0.0, second=0.0)
    labeler = first_error.build(Tools(verify, 3, "hash", continuing=continuing(engine)))
    texts = [completion("1\n1"), completion("1\n2", sample=1)]
    rows, cost = labeler.label([PROBLEM] * 2, texts, [(2, 3)] * 2)
    assert [row.labels for row in rows] == [(1.0, 1.0), (1.0, 0.0)]
    assert (cost.prefixes, cost.labels, cost.rollouts, engine.asked) == (1, 2, 0, [])
    assert {(row.iteration, row.completer) for row in rows} == {(3, "hash")}


class OnesEngine:
    """Continues lines of ones to the right answer, and nothing else."""

    def __init__(self, lines: int, between: str = "\n") -> None:
        self.lines, self.between = lines, between
        self.asked: list[tuple[int, ...]] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        groups = []
        for prompt, own in zip(prompts, per_prompt(prompts, sampling), strict=True):
            self.asked.append(prompt.token_ids)
            done = str(TOKENIZER.decode(list(prompt.token_ids[len(ids(PROBLEM.question)) :])))
            left = self.lines - done.count("\n")
            text = self.between.join(["1"] * left)
            one = Completion("p0", 0, text, (*ids(text), 1), Finish.STOP)
            groups.append([one] * own.group_size)
        return groups


def test_prefixes_of_unequal_length_stay_within_the_context() -> None:
    # The question and a whole completion fit exactly; the longest prefix with the room of the
    # shortest one would not.
    asked = len(ids(PROBLEM.question))
    engine = Narrow(0.5, 0.5, context=asked + 8)
    labeler = naive(engine)
    ((row,), _) = labeler.label([PROBLEM], [completion("1\n1\n")], [(2, 3, 4)])
    assert [trials for _, trials in row.counts] == [8, 8, 1]
    assert len({len(prompt) for prompt, _ in engine.asked}) == 2


@dataclass
class Narrow(ChainEngine):
    """Refuses what goes beyond its context, as real engines do."""

    context: int = 0

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        check_prompts(prompts, per_prompt(prompts, sampling), self.context)
        return super().generate(prompts, sampling)


@dataclass
class Writes:
    """Continues every prefix by the same texts, each finished or cut off."""

    texts: list[tuple[str, Finish]]

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        group = [
            completion(text, sample=i, finish=finish) for i, (text, finish) in enumerate(self.texts)
        ]
        return [group for _ in prompts]


def rollouts_of(engine: Engine, *prefixes: str, stop: tuple[str, ...] = ()) -> Rollouts:
    tools = continuing(engine)
    tools = replace(tools, sampling=replace(tools.sampling, stop=stop))
    return Rollouts([("p0", ids(text)) for text in prefixes], {"p0": "11"}, verify, tools)


def test_a_completion_that_was_cut_off_is_a_failed_trial() -> None:
    rollouts = rollouts_of(ChainEngine(1, 1), "1", "1\n")
    whole, cut = completion("1\n1"), completion("1\n1", sample=1, finish=Finish.LENGTH)
    rollouts.own([whole, cut], [True, True])
    assert rollouts.count(("p0", ids("1"))) == (1, 2)
    # Also of the prefix at whose end it was cut off.
    rollouts.own([completion("1\n", sample=2, finish=Finish.LENGTH)], [False])
    assert rollouts.count(("p0", ids("1\n"))) == (1, 3)


def test_a_continuation_that_was_cut_off_takes_no_others_verdict() -> None:
    rollouts = rollouts_of(Writes([("\n1", Finish.LENGTH), ("\n2", Finish.STOP)]), "1")
    rollouts.sample({("p0", ids("1")): 2})
    assert rollouts.count(("p0", ids("1"))) == (0, 2)


def test_what_follows_a_stop_is_no_part_of_the_answer() -> None:
    engine = Writes([("\n1#2", Finish.STOP)])
    for stop, successes in (((), 0), (("#",), 1)):
        rollouts = rollouts_of(engine, "1", stop=stop)
        rollouts.sample({("p0", ids("1")): 1})
        assert rollouts.count(("p0", ids("1"))) == (successes, 1)


def test_settings_of_monte_carlo_labels_that_mean_nothing_are_refused() -> None:
    for confidence in (0, -0.5, 1.5):
        with pytest.raises(ValueError, match=f"confidence is {confidence}"):
            monte_carlo.Labeler(verify, None, 1, "", confidence=confidence)
    with pytest.raises(ValueError, match="at_once is 0"):
        monte_carlo.Labeler(verify, None, 1, "", at_once=0)


def test_monte_carlo_shares_and_stops_at_decisions_unless_told_otherwise() -> None:
    engine = ChainEngine(first=1.0, second=1.0)
    tools = Tools(verify, 5, "hash", continuing=continuing(engine, group_size=32))
    ((row,), cost) = monte_carlo.build(tools).label([PROBLEM], [completion("1\n1")], [(2, 3)])
    # The completion is a trial, then pairs, until 5 of 5 decide: P(rate < 1/2) = 2^-6.
    assert row.counts[0] == (5, 5)
    assert [own.group_size for call in engine.calls for own in call] == [2, 2]
    assert (row.iteration, row.completer, cost.reused) == (5, "hash", 1)


def test_prefixes_that_share_nothing_are_continued_in_one_call() -> None:
    engine = ChainEngine(first=1.0, second=1.0)
    naive(engine).label([PROBLEM], [completion("1\n1")], [(1, 2, 3)])
    assert [len(call) for call in engine.calls] == [2]


def test_short_prefixes_go_first_as_their_rollouts_may_decide_longer_ones() -> None:
    engine = ChainEngine(first=1.0, second=1.0)
    labeler = monte_carlo.build(Tools(verify, 1, continuing=continuing(engine, group_size=8)))
    labeler.label([PROBLEM], [completion("1\n1")], [(1, 2, 3)])
    assert {len(asked) - len(ids(PROBLEM.question)) for asked, _ in engine.asked} == {1}
