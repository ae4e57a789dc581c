"""Reward sources: the interface, the truncated fragment, and the mixture's share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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


def test_a_broken_source_is_left_to_others_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "reward_models" / "sources"
    folder.mkdir(parents=True)
    (folder / "cracked.py").write_text("1 / 0\n")
    monkeypatch.setattr(sources, "__path__", [*sources.__path__])
    monkeypatch.setenv(plugins.FOLDERS, str(tmp_path))
    with pytest.raises(plugins.BrokenPlugin, match="ZeroDivisionError"):
        plugins.find("reward_models.sources", "cracked", "reward")
    assert sources.judged_by("cracked") is None


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
    strict = replace(parts, check_steps=lambda p, t, ends: [False] * len(ends))
    assert verifier.build(strict).score([PROBLEM], TEXTS[:1])[0].values == (0.0, 1.0)
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
    for weight in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match=f"model_weight is {weight}"):
            mixture.Source(Constant(1, "v"), Constant(1, "m"), model_weight=weight)
        with pytest.raises(ValueError, match=f"verifier_weight is {weight}"):
            mixture.Source(Constant(1, "v"), Constant(1, "m"), verifier_weight=weight)
    # As many ends, in other places.
    source = mixture.Source(Constant(1, "v"), Constant(1, "m", (1, 3)), verified_share=1)
    with pytest.raises(ValueError, match="give both the same splitter"):
        source.score([PROBLEM], TEXTS[:1])


def test_a_weight_of_zero_leaves_a_source_out() -> None:
    source = mixture.Source(
        Constant(1, "v"), Constant(0.5, "m"), verifier_weight=2, model_weight=0, verified_share=1
    )
    (reward,) = source.score([PROBLEM], TEXTS[:1])
    assert reward.values == (2, 2)
    # Components are not weighted.
    assert reward.components == {"verifier": (1, 1), "model": (0.5, 0.5)}


def test_the_seed_draws_the_verified_questions_by_their_id() -> None:
    problems = [Problem(f"p{n}", "q", "1", "d") for n in range(300)]

    def chosen(seed: int, share: float = 0.3) -> set[str]:
        source = mixture.Source(Constant(1, "v"), Constant(1, "m"), verified_share=share, seed=seed)
        return {problem.id for problem in problems if source.verifies(problem)}

    assert chosen(0) == chosen(0) != chosen(1)
    assert chosen(0) < chosen(0, share=0.6)
    assert chosen(0, share=0.0) == set()
    assert len(chosen(0, share=1.0)) == 300
    # A tenth, as PURE has it, unless asked for.
    assert mixture.Source(Constant(1, "v"), Constant(1, "m")).verified_share == 0.1


class Silent:
    """A source that must not be asked."""

    def score(self, problems: list[Problem], completions: list[Completion]) -> list[StepRewards]:
        raise AssertionError("asked without a question to verify")


def test_without_verified_questions_the_verifier_is_not_asked() -> None:
    source = mixture.Source(Silent(), Constant(0.5, "model"), verified_share=0.0)
    assert len(source.score([PROBLEM], TEXTS[:1])) == 1


def test_problems_and_completions_belong_together() -> None:
    for source in (
        model.Source(reward_model(), lines.Splitter()),
        verifier.Source(verdict.Labeler(verify, 1), whole.Splitter()),
    ):
        with pytest.raises(ValueError, match="1 problems for 2 completions"):
            source.score([PROBLEM], TEXTS[:2])
