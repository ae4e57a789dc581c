"""A policy whose success rates are known: it writes two digits, each right with a set chance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from iterative_grpo.engines._requests import per_prompt
from iterative_grpo.protocols import Samplings
from iterative_grpo.types import Completion, Finish, Problem, Prompt, Sampling
from tests.reward_models.making import words
from verifiers.verdict import Outcome, Verdict

TOKENIZER = words()
EOS = 1
PROBLEM = Problem("p0", "Ann has 1.", "11", "chain")


def verify(pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
    """A response is right if it is the answer, newlines apart."""
    return [
        Verdict(Outcome.CORRECT if text.replace("\n", "") == answer else Outcome.INCORRECT, text)
        for text, answer in pairs
    ]


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER(text, add_special_tokens=False)["input_ids"])


def completion(text: str, *, sample: int = 0, finish: Finish = Finish.STOP) -> Completion:
    """A completion of PROBLEM, EOS included when the policy stopped."""
    tail = (EOS,) if finish is Finish.STOP else ()
    return Completion("p0", sample, text, ids(text) + tail, finish)


@dataclass
class ChainEngine:
    """Continues "Ann has 1." by lines: first "1" with chance `first`, then "1" with `second`.

    `calls` keeps the samplings of each call and `asked` the prompts, so that tests can count what
    was generated.
    """

    first: float
    second: float
    tokens_extra: int = 0
    asked: list[tuple[tuple[int, ...], int]] = field(default_factory=list)
    calls: list[list[Sampling]] = field(default_factory=list)
    tokens: int = 0

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        samplings = per_prompt(prompts, sampling)
        self.calls.append(samplings)
        generators = {own.seed: random.Random(own.seed) for own in samplings}
        question = len(ids(PROBLEM.question))
        groups = []
        for prompt, own in zip(prompts, samplings, strict=True):
            self.asked.append((prompt.token_ids, own.group_size))
            done = len(prompt.token_ids) - question
            groups.append(
                [self._sample(done, i, generators[own.seed], own) for i in range(own.group_size)]
            )
        return groups

    def _sample(
        self, done: int, i: int, generator: random.Random, sampling: Sampling
    ) -> Completion:
        pieces = []
        # A completion is "d\nd": tokens d, \n, d.
        if done == 0:
            pieces.append("1" if generator.random() < self.first else "2")
        if done <= 1:
            pieces.append("\n")
        if done <= 2:
            pieces.append("1" if generator.random() < self.second else "2")
        text = "".join(pieces) + "\n" * self.tokens_extra
        made = (*ids(text), EOS)
        finish = Finish.STOP
        if len(made) > sampling.max_tokens:
            made, finish = made[: sampling.max_tokens], Finish.LENGTH
            text = str(TOKENIZER.decode(list(made), skip_special_tokens=True))
        self.tokens += len(made)
        return Completion("p0", i, text, made, finish)
