"""A published reward model as a source: its own scores, step by step and for the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from iterative_grpo.protocols import Splitter
from iterative_grpo.splitters import lines, whole
from iterative_grpo.types import Finish
from reward_models.protocols import Parts
from reward_models.published import math_shepherd
from reward_models.sources import published
from tests.reward_models.labels.chain import PROBLEM, completion, verify
from tests.reward_models.published.test_conventions import policy, tokenizer

TEXTS = [
    completion("1+1=2\n2+1=3\n#### 3"),
    completion("1+1=2\n2+1=3\n#### 3", sample=1, finish=Finish.LENGTH),
    completion("1+1=2", sample=2),
    completion("", sample=3),
]


@pytest.mark.parametrize("splitter", [lines.Splitter(), whole.Splitter()])
def test_rewards_are_its_scores_and_a_fragment_gets_nothing(
    splitter: Splitter, tmp_path: Path
) -> None:
    policy(tmp_path, tokenizer("ки"))
    model = math_shepherd.load(str(tmp_path))
    source = published.build(Parts(splitter, verify, published=model))
    rewards = source.score([PROBLEM] * 4, TEXTS)
    for made, reward in zip(TEXTS, rewards, strict=True):
        (alone,) = model.score([PROBLEM.question], [made.text], [splitter.split(made.text)])
        expected = (*alone[:-1], 0.0) if made.truncated else alone
        assert reward.values == pytest.approx(expected, abs=1e-6)
        assert reward.ends == splitter.split(made.text)
        assert reward.components == {"model": reward.values}
    assert len(rewards[0].values) == (1 if isinstance(splitter, whole.Splitter) else 3)
    assert rewards[0].values[-1] not in (rewards[1].values[-1], rewards[2].values[-1])


def test_without_a_model_it_says_which_settings_are_missing() -> None:
    with pytest.raises(ValueError, match=r"give published\.model and published\.convention"):
        published.build(Parts(whole.Splitter(), verify))
