"""Reward sources: the interface, the truncated fragment, and the mixture's share."""

from __future__ import annotations

import pytest

from iterative_grpo import plugins
from iterative_grpo.splitters import lines, whole
from iterative_grpo.types import Completion, Finish, Problem, StepRewards
from reward_models import sources
from reward_models.labels import verdict
from reward_models.model import RewardModel
from reward_models.protocols import Parts
from reward_models.sources import mixture, model, verifier
from tests.reward_models.labels.chain import PROBLEM, completion, verify
from tests.reward_models.making import llama, words

TEXTS = [
    completion("1\n1"),
    completion("1\n2", sample=1),
    completion("1\n1", sample=2, finish=Finish.LENGTH),
    completion("", sample=3),
]


def reward_model() -> RewardModel:
    tokenizer = words()
    return RewardModel.from_shape(llama(len(tokenizer)), tokenizer)


def test_sources_are_found_by_name() -> None:
    assert plugins.names("reward_models.sources") == [
        "mixture",
        "model",
        "published",
        "uncertain",
        "verifier",
    ]


def test_sources_say_who_judges_where_no_reward_model_is_trained() -> None:
    assert {name: sources.judged_by(name) for name in plugins.names("reward_models.sources")} == {
        "mixture": None,
        "model": None,
        "published": "a published reward model",
        "uncertain": None,
        "verifier": "the verifier",
    }
    assert sources.judged_by("verifyer") is None


def test_sources_are_built_from_parts() -> None:
    judge_model = reward_model()
    parts = Parts(
        lines.Splitter(),
        verify,
        lambda p, t, ends: [True] * len(ends),
        judge_model,
        seed=3,
        verified_share=0.5,
        verifier_weight=2,
        model_weight=3,
    )
    truth = verifier.build(parts).score([PROBLEM] * 2, TEXTS[:2])
    assert [reward.values for reward in truth] == [(1.0, 1.0), (1.0, 0.0)]
    judged = model.build(parts).score([PROBLEM] * 2, TEXTS[:2])
    alone = judge_model.score([PROBLEM.question], ["1\n1"], [(2, 3)])[0]
    assert judged[0].values == pytest.approx(alone, abs=1e-6)
    mixed = mixture.build(parts)
    assert (mixed.verifier_weight, mixed.model_weight, mixed.verified_share, mixed.seed) == (
        2,
        3,
        0.5,
        3,
    )
    assert len(mixed.score([PROBLEM] * 2, TEXTS[:2])) == 2
    with pytest.raises(ValueError, match="needs a reward model"):
        model.build(Parts(lines.Splitter(), verify))


def test_verifier_rewards_are_the_labels() -> None:
    source = verifier.Source(verdict.Labeler(verify, 1), whole.Splitter())
    rewards = source.score([PROBLEM] * 4, TEXTS)
    assert [reward.values for reward in rewards] == [(1.0,), (0.0,), (0.0,), (0.0,)]
    assert rewards[0].components == {"verifier": (1.0,)}
    assert rewards[3].ends == (0,)


def test_model_rewards_are_its_scores_and_a_fragment_gets_the_lowest() -> None:
    judge_model = reward_model()
    rewards = model.Source(judge_model, lines.Splitter()).score([PROBLEM] * 4, TEXTS)
    expected = judge_model.score([PROBLEM.question] * 2, ["1\n1", "1\n2"], [(2, 3), (2, 3)])
    assert rewards[0].values == pytest.approx(expected[0])
    assert rewards[1].values == pytest.approx(expected[1])
    assert rewards[2].values == (pytest.approx(expected[0][0]), 0.0)
    assert rewards[2].components["model"] == rewards[2].values
    assert len(rewards[3].values) == 1


class Constant:
    """A source that gives every step one value and counts what it was asked."""

    def __init__(self, value: float, name: str, ends: tuple[int, ...] = (2, 3)) -> None:
        self.value, self.name, self.ends = value, name, ends
        self.asked: list[str] = []

    def score(self, problems: list[Problem], completions: list[Completion]) -> list[StepRewards]:
        self.asked += [problem.id for problem in problems]
        values = (self.value,) * len(self.ends)
        return [StepRewards(self.ends, values, {self.name: values}) for _ in completions]


def test_mixture_verifies_a_share_of_the_questions_and_whole_groups() -> None:
    truth, judged = Constant(1.0, "verifier"), Constant(0.5, "model")
    source = mixture.Source(truth, judged, verifier_weight=2, model_weight=3, verified_share=0.1)
    problems = [Problem(f"p{n // 4}", "q", "1", "d") for n in range(8000)]
    completions = [Completion(p.id, 0, "1\n1", (1,), Finish.STOP) for p in problems]
    rewards = source.score(problems, completions)
    verified = {p.id for p, r in zip(problems, rewards, strict=True) if "verifier" in r.components}
    assert 140 < len(verified) < 260
    assert truth.asked == [p.id for p in problems if p.id in verified]
    for problem, reward in zip(problems, rewards, strict=True):
        assert reward.values == ((3.5, 3.5) if problem.id in verified else (1.5, 1.5))
        assert reward.components["model"] == (0.5, 0.5)


@pytest.mark.parametrize(("share", "value"), [(0.0, 0.5), (1.0, 1.5)])
def test_mixture_ends_of_the_scale(share: float, value: float) -> None:
    source = mixture.Source(Constant(1, "verifier"), Constant(0.5, "model"), verified_share=share)
    (reward,) = source.score([PROBLEM], TEXTS[:1])
    assert reward.values == (value, value)


def test_mixture_refuses_other_cuts_and_wrong_weights() -> None:
    source = mixture.Source(Constant(1, "v"), Constant(1, "m", (3,)), verified_share=1)
    with pytest.raises(ValueError, match="give both the same splitter"):
        source.score([PROBLEM], TEXTS[:1])
    with pytest.raises(ValueError, match="verified_share is 2"):
        mixture.Source(Constant(1, "v"), Constant(1, "m"), verified_share=2)
    with pytest.raises(ValueError, match="model_weight is nan"):
        mixture.Source(Constant(1, "v"), Constant(1, "m"), model_weight=float("nan"))
