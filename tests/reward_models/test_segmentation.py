"""Other cuts of the same texts, and how far rewards and advantages move with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iterative_grpo.advantages import outcome
from iterative_grpo.advantages import sum as sums
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import Splitter
from iterative_grpo.splitters import lines, sentences
from iterative_grpo.types import Finish, StepRewards
from reward_models.model import RewardModel
from reward_models.published import math_shepherd
from reward_models.segmentation import CUTS, Recut, measure
from reward_models.sources import model as judged
from tests.reward_models.labels.chain import PROBLEM, completion
from tests.reward_models.making import byte_bpe, llama
from tests.reward_models.published.test_conventions import QUESTION, policy, tokenizer

TEXTS = ["a = 1\nb = 2\nc\n", "a = 1\nb = 3", "2\n3\n4\n5\n6", "one"]


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ("merged", [(6, 14), (11,), (2, 6, 9), (3,)]),
        ("split", [(2, 6, 8, 12, 14), (2, 6, 8, 11), (2, 4, 6, 8, 9), (1, 3)]),
        ("whole", [(14,), (11,), (9,), (3,)]),
    ],
)
def test_cuts(cut: str, expected: list[tuple[int, ...]]) -> None:
    recut = Recut(lines.Splitter(), cut)
    assert [recut.split(text) for text in TEXTS] == expected


@given(st.text(alphabet="a1 .\n\té́", max_size=40), st.sampled_from(sorted(CUTS)))
def test_every_cut_is_one(text: str, cut: str) -> None:
    for splitter in (lines.Splitter(), sentences.Splitter()):
        base, ends = splitter.split(text), Recut(splitter, cut).split(text)
        assert list(ends) == sorted(set(ends))
        assert ends[-1] == base[-1] == len(text)
        common = set(base) & set(ends)
        assert common == (set(base) if cut == "split" else set(ends))
        steps = [text[a:b] for a, b in zip((0, *ends), ends, strict=False)]
        assert all(step.strip() for step in steps) or not text.strip()


class ByEnd:
    """Rewards that depend on the text up to the end, as those of a head that is read there."""

    def __call__(self, splitter: Splitter) -> list[StepRewards]:
        return [
            StepRewards(ends, tuple(len(text[:end].split()) / 10 for end in ends))
            for text in TEXTS
            for ends in [splitter.split(text)]
        ]


class ByNumber:
    """Rewards that depend on how many steps came before."""

    def __call__(self, splitter: Splitter) -> list[StepRewards]:
        cuts = [splitter.split(text) for text in TEXTS]
        return [StepRewards(ends, tuple(k / 10 for k in range(len(ends)))) for ends in cuts]


GROUPS = ["g", "g", "h", "h"]


def test_rewards_at_an_end_do_not_move_whatever_else_is_cut() -> None:
    for shift in measure(ByEnd(), lines.Splitter(), TEXTS, GROUPS, outcome.Rule(), Normalizer()):
        # With the outcome rule only the last end counts, and every cut has it.
        assert (shift.reward_max, shift.flipped) == (0, 0)
        assert shift.first_token == shift.whole_output == 0


def test_rewards_that_count_steps_move() -> None:
    found = measure(ByNumber(), lines.Splitter(), TEXTS, GROUPS, sums.Rule(), Normalizer())
    merged, split, whole = found
    assert [shift.cut for shift in found] == ["merged", "split", "whole"]
    # Ends 6, 14 | 11 | 2, 6, 9 | 3 close steps 0, 2 | 1 | 0, 2, 4 | 0 of the configured cut, and
    # steps 0, 1 | 0 | 0, 1, 2 | 0 of the merged one.
    assert merged.ends == 7
    assert merged.reward_mean == pytest.approx((0 + 0.1 + 0.1 + 0 + 0.1 + 0.2 + 0) / 7)
    assert merged.reward_max == pytest.approx(0.2)
    assert split.ends == 3 + 2 + 5 + 1
    assert whole.ends == 4


def test_advantages_are_compared_with_those_of_the_configured_cut() -> None:
    # Group g: rewards .3 .6 .7 | .3 .6; one step each when whole.
    (_, _, whole) = measure(ByEnd(), lines.Splitter(), TEXTS, GROUPS, sums.Rule(), Normalizer())
    normalize = Normalizer()
    rewards = [[[0.3, 0.6, 0.7], [0.3, 0.6]], [[0.1, 0.2, 0.3, 0.4, 0.5], [0.1]]]
    known = [a[0] for group in sums.Rule().credit(rewards, normalize) for a in group]
    ends = [[[0.7], [0.6]], [[0.5], [0.1]]]
    other = [a[0] for group in sums.Rule().credit(ends, normalize) for a in group]
    size = (sum(a * a for a in known) / 4) ** 0.5
    moved = sum(abs(a - b) for a, b in zip(known, other, strict=True)) / 4
    assert whole.first_token == pytest.approx(moved / size)
    assert whole.flipped == sum(a * b < 0 for a, b in zip(known, other, strict=True)) / 4


def test_the_advantage_of_an_output_is_the_mean_over_its_characters() -> None:
    (_, _, whole) = measure(ByEnd(), lines.Splitter(), TEXTS, GROUPS, sums.Rule(), Normalizer())
    normalize = Normalizer()
    rewards = [[[0.3, 0.6, 0.7], [0.3, 0.6]], [[0.1, 0.2, 0.3, 0.4, 0.5], [0.1]]]
    lengths = [[6, 6, 2], [6, 5], [2, 2, 2, 2, 1], [3]]
    known = [
        sum(a * length for a, length in zip(advantages, own, strict=True)) / sum(own)
        for advantages, own in zip(
            (row for group in sums.Rule().credit(rewards, normalize) for row in group),
            lengths,
            strict=True,
        )
    ]
    ends = [[[0.7], [0.6]], [[0.5], [0.1]]]
    other = [a[0] for group in sums.Rule().credit(ends, normalize) for a in group]
    size = (sum(a * a for a in known) / 4) ** 0.5
    moved = sum(abs(a - b) for a, b in zip(known, other, strict=True)) / 4
    assert whole.whole_output == pytest.approx(moved / size)


def test_rewards_that_are_all_alike_move_nothing() -> None:
    def alike(splitter: Splitter) -> list[StepRewards]:
        cuts = [splitter.split(text) for text in ("", "a\nb")]
        return [StepRewards(ends, (0.5,) * len(ends)) for ends in cuts]

    for shift in measure(
        alike, lines.Splitter(), ["", "a\nb"], ["g", "g"], outcome.Rule(), Normalizer()
    ):
        assert (shift.first_token, shift.whole_output, shift.flipped) == (0, 0, 0)


def test_a_step_of_two_visible_characters_is_split() -> None:
    recut = Recut(lines.Splitter(), "split")
    assert [recut.split(text) for text in ("ab", "a\nb", "a", "a b")] == [
        (1, 2),
        (2, 3),
        (1,),
        (2, 3),
    ]


def test_a_head_at_marked_ends_does_not_move() -> None:
    tokens = byte_bpe()
    model = RewardModel.from_shape(llama(len(tokens)), tokens)
    group = [completion(text, sample=i) for i, text in enumerate(TEXTS)]
    group.append(completion("1\n1", sample=4, finish=Finish.LENGTH))

    def score(splitter: Splitter) -> list[StepRewards]:
        return judged.Source(model, splitter).score([PROBLEM] * 5, group)

    for shift in measure(
        score, lines.Splitter(), [c.text for c in group], ["p0"] * 5, sums.Rule(), Normalizer()
    ):
        assert shift.reward_max < 1e-5


def test_a_model_that_reads_separators_moves(tmp_path: Path) -> None:
    policy(tmp_path, tokenizer("ки"))
    judge = math_shepherd.load(str(tmp_path))
    with torch.no_grad():
        # Fresh layers hardly look at other tokens; trained ones do.
        for weights in judge.model.model.layers.parameters():
            weights.mul_(8)

    def score(splitter: Splitter) -> list[StepRewards]:
        ends = [splitter.split(text) for text in TEXTS]
        values = judge.score([QUESTION] * len(TEXTS), TEXTS, ends)
        return [StepRewards(e, v) for e, v in zip(ends, values, strict=True)]

    merged, split, whole = measure(
        score, lines.Splitter(), TEXTS, GROUPS, sums.Rule(), Normalizer()
    )
    assert min(merged.reward_mean, split.reward_mean, whole.reward_mean) > 0.01


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(ValueError, match="4 texts for 3 names of groups"):
        measure(ByEnd(), lines.Splitter(), TEXTS, GROUPS[:3], sums.Rule(), Normalizer())
    fixed = ByEnd()(lines.Splitter())
    with pytest.raises(ValueError, match="uses the splitter it is given"):
        measure(lambda _: fixed, lines.Splitter(), TEXTS, GROUPS, sums.Rule(), Normalizer())

    def elsewhere(_: Splitter) -> list[StepRewards]:
        return [StepRewards((1, 3), (0.5, 0.5))]

    with pytest.raises(ValueError, match=r"at ends \[1, 3\] where the splitter cuts at \[2, 3\]"):
        measure(elsewhere, lines.Splitter(), ["1\n1"], ["g"], sums.Rule(), Normalizer())
