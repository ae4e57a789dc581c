"""From sampled outputs to tokens: rewards, the paper's sum and the mapping, all written out.

The group is ragged: three steps, an output that the token limit cut off, one step, and nothing at
all. One token a character, so that a token's step is read off the text.
"""

from __future__ import annotations

import pytest

from iterative_grpo.advantages.sum import Rule
from iterative_grpo.normalize import Normalizer
from iterative_grpo.splitters.lines import Splitter
from iterative_grpo.steps import TokenSteps
from iterative_grpo.types import Completion, Finish
from reward_models.model import RewardModel
from reward_models.sources.model import Source
from tests.iterative_grpo.test_steps import TOKENIZERS
from tests.reward_models.labels.chain import PROBLEM
from tests.reward_models.making import llama, words

POLICY = TOKENIZERS["characters"]
TEXTS = ["18+5=23\n\n7\n#### 23", "18+5=23\n7", "#### 23", ""]
ENDS = [(9, 11, 18), (8, 9), (7,), (0,)]
TRUNCATED = 1


def output(sample: int, text: str) -> Completion:
    ids = POLICY(text)["input_ids"]
    if sample == TRUNCATED:
        return Completion("p0", sample, text, tuple(ids), Finish.LENGTH)
    return Completion("p0", sample, text, (*ids, POLICY.eos_token_id), Finish.STOP)


def test_a_ragged_group_to_the_last_token() -> None:
    judge = RewardModel.from_shape(llama(len(words())), words())
    group = [output(sample, text) for sample, text in enumerate(TEXTS)]
    rewards = Source(judge, Splitter()).score([PROBLEM] * 4, group)
    (credited,) = Rule().credit([[reward.values for reward in rewards]], Normalizer())
    mapping = TokenSteps(POLICY)
    ours = [
        mapping.spread(c, reward.ends, advantages, len(c.token_ids)).tolist()
        for c, reward, advantages in zip(group, rewards, credited, strict=True)
    ]

    # The same in loops over tokens, from the model's own scores.
    r = [
        list(judge.score([PROBLEM.question], [t], [e])[0]) for t, e in zip(TEXTS, ENDS, strict=True)
    ]
    r[TRUNCATED][-1] = 0.0
    every = [value for row in r for value in row]
    mean = sum(every) / 7
    std = (sum((value - mean) ** 2 for value in every) / 6) ** 0.5
    for i, completion in enumerate(group):
        expected = []
        for t in range(len(completion.token_ids)):
            # End j stands at its last character's token, the last one at the last token.
            last = len(completion.token_ids) - 1
            places = [*(end - 1 for end in ENDS[i][:-1]), last]
            advantage = 0.0
            for j, place in enumerate(places):
                if place >= t:
                    advantage += (r[i][j] - mean) / (std + 1e-4)
            expected.append(advantage)
        assert ours[i] == pytest.approx(expected, abs=1e-4)
