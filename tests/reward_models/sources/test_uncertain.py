"""The head ensemble: heads learn from resampled problems, and rewards heed their doubt."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Literal

import pytest
import torch

from iterative_grpo.splitters import lines, whole
from iterative_grpo.types import Finish
from reward_models.calibration import Calibration
from reward_models.model import RewardModel, UntrainedHead
from reward_models.protocols import Parts
from reward_models.sources import uncertain
from reward_models.training import TrainingSettings, train
from tests.reward_models.labels.chain import PROBLEM, completion, verify
from tests.reward_models.making import additions, llama, words


def ensemble(heads: int = 4) -> RewardModel:
    tokenizer = words()
    return RewardModel.from_shape(llama(len(tokenizer)), tokenizer, heads=heads)


def probabilities(model: RewardModel, text: str) -> list[float]:
    (row,) = model.head_logits([PROBLEM.question], [text], [(len(text),)])
    return [1 / (1 + math.exp(-z)) for z in row[0]]


def test_score_is_the_mean_heads() -> None:
    model = ensemble()
    (row,) = model.head_logits([PROBLEM.question], ["1\n1"], [(2, 3)])
    assert [len(end) for end in row] == [4, 4]
    mean = [1 / (1 + math.exp(-statistics.fmean(end))) for end in row]
    assert model.score([PROBLEM.question], ["1\n1"], [(2, 3)])[0] == pytest.approx(tuple(mean))


def test_heads_are_kept_in_the_checkpoint(tmp_path: Path) -> None:
    model = ensemble()
    model.save(tmp_path)
    again = RewardModel.load(tmp_path)
    assert again.heads == 4
    assert probabilities(again, "1\n1") == probabilities(model, "1\n1")


def test_a_classifier_of_other_labels_is_refused(tmp_path: Path) -> None:
    model = ensemble(2)
    model.model.config.id2label = {0: "person", 1: "place"}
    model.save(tmp_path)
    with pytest.raises(UntrainedHead, match="labels person, place"):
        RewardModel.load(tmp_path)


def test_heads_learn_from_problems_of_their_own() -> None:
    model = ensemble()
    train(model, additions(1600, 1), settings=TrainingSettings(learning_rate=3e-3, epochs=8))
    heads = model.model.score.weight
    assert not torch.equal(heads[0], heads[1])
    right, wrong = model.head_logits(["Ann has 4 coins."] * 2, ["#### 4", "#### 5"], [(6,), (6,)])
    # Every head has learned, not the mean alone.
    assert all(good > 0.5 and bad < -0.5 for good, bad in zip(right[0], wrong[0], strict=True))


@pytest.mark.parametrize("action", ["shrink", "mask"])
def test_doubt_draws_rewards_to_one_half(action: Literal["shrink", "mask"]) -> None:
    model = ensemble()
    texts = [completion("1\n1"), completion("1\n2", finish=Finish.LENGTH)]
    for limit in (1e-9, 0.02, 1e9):
        source = uncertain.Source(model, lines.Splitter(), action, limit)
        whole_reward, cut_reward = source.score([PROBLEM] * 2, texts)
        assert cut_reward.values[-1] == 0.0
        for value, p, d in zip(
            whole_reward.values,
            whole_reward.components["model"],
            whole_reward.components["spread"],
            strict=True,
        ):
            if limit == 1e-9:
                assert value == 0.5
            elif limit == 1e9:
                assert value == pytest.approx(p, abs=1e-6)
            elif action == "mask":
                assert value == (p if d <= limit else 0.5)
            else:
                assert value == pytest.approx(0.5 + (p - 0.5) * max(0, 1 - d / limit))


def test_spread_is_the_heads_standard_deviation() -> None:
    model = ensemble()
    source = uncertain.Source(model, whole.Splitter())
    (reward,) = source.score([PROBLEM], [completion("1\n1")])
    assert reward.components["spread"][0] == pytest.approx(
        statistics.pstdev(probabilities(model, "1\n1"))
    )


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="needs an ensemble"):
        uncertain.Source(ensemble(1), whole.Splitter())
    with pytest.raises(ValueError, match="limit is 0"):
        uncertain.Source(ensemble(), whole.Splitter(), limit=0)
    with pytest.raises(ValueError, match="at least one head, found 0"):
        ensemble(0)


def test_it_is_built_with_the_action_and_limit_asked_for() -> None:
    parts = Parts(whole.Splitter(), verify, model=ensemble(2))
    assert uncertain.build(parts) == uncertain.Source(
        ensemble_of(parts), whole.Splitter(), "shrink", 0.25
    )
    assert uncertain.build(parts) == uncertain.Source(ensemble_of(parts), whole.Splitter())
    source = uncertain.build(parts, action="mask", limit=0.5)
    assert (source.action, source.limit) == ("mask", 0.5)


def ensemble_of(parts: Parts) -> RewardModel:
    assert parts.model is not None
    return parts.model


def test_the_mean_heads_score_is_calibrated_before_it_is_drawn_to_one_half() -> None:
    model = ensemble()
    with torch.no_grad():
        # The mean of clear opinions is not the opinion of the mean.
        model.model.score.weight.mul_(20)
    texts = [completion("1\n1"), completion("1\n2", finish=Finish.LENGTH)]
    source = uncertain.Source(model, lines.Splitter(), limit=1e9)
    plain = source.score([PROBLEM] * 2, texts)
    said = model.score([PROBLEM.question] * 2, [text.text for text in texts], [(2, 3)] * 2)
    assert plain[0].components["model"] == pytest.approx(said[0], abs=1e-9)
    model.calibration = Calibration("temperature", (0.0, 1.0), (0.5, 1.0))
    for before, after in zip(plain, source.score([PROBLEM] * 2, texts), strict=True):
        mapped = [0.5 + p / 2 for p in before.components["model"]]
        if after.values[-1] == 0:
            mapped[-1] = 0.0
        assert after.components["model"] == pytest.approx(tuple(mapped))
        assert after.values == pytest.approx(tuple(mapped))
        assert after.components["spread"] == before.components["spread"]
    # The fragment's end is worth nothing, in the component too.
    assert plain[1].components["model"][-1] == 0


def test_a_spread_at_the_limit_is_no_doubt_yet() -> None:
    model = ensemble()
    (known,) = uncertain.Source(model, whole.Splitter()).score([PROBLEM], [completion("1\n1")])
    (spread,) = known.components["spread"]
    source = uncertain.Source(model, whole.Splitter(), "mask", spread)
    (reward,) = source.score([PROBLEM], [completion("1\n1")])
    assert reward.values == known.components["model"] != (0.5,)
