"""Whole optimizer steps against the paper's equations, written out for one output at a time.

arXiv:2402.03300: rewards at step ends normalised over all steps of a group, a token's advantage the
sum of those that end at or after it (§4.1.3), the clipped objective with the KL penalty (equation
21), two updates on each exploration. Ragged outputs, empty and truncated ones too, in float64.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import clip_grad_norm_, parameters_to_vector
from transformers import AutoModelForCausalLM

from iterative_grpo.rollouts import Rollout
from iterative_grpo.trl_seam.rows import EngineRows
from iterative_grpo.types import Finish
from tests.iterative_grpo.logps.making import distance, exact
from tests.iterative_grpo.test_trainer import G, PolicyMaker, make
from tests.iterative_grpo.train_on_ranks import GivenEngine

BETA, EPSILON, RATE, MOST_TOKENS, UPDATES = 0.04, 0.2, 1e-2, 8, 2


def rewards_at_ends(text: str, tokens: int) -> dict[int, float]:
    """Token index of each line's end -> share of digits, as `DigitSource`; one character a token.

    The last line closes at the last token, EOS included.
    """
    lines = text.splitlines(keepends=True) or [""]
    found, end = {}, 0
    for number, line in enumerate(lines, start=1):
        end += len(line)
        at = tokens - 1 if number == len(lines) else end - 1
        found[at] = sum(c.isdigit() for c in line) / max(len(line), 1)
    return found


def pooled(group: list[Rollout]) -> list[float]:
    return [r for output in group for r in rewards_at_ends(output.text, output.tokens).values()]


def token_advantages(group: list[Rollout]) -> list[list[float]]:
    mean, std = statistics.fmean(pooled(group)), statistics.stdev(pooled(group))
    return [
        [
            sum((reward - mean) / (std + 1e-4) for end, reward in each.items() if end >= token)
            for token in range(output.tokens)
        ]
        for output in group
        for each in [rewards_at_ends(output.text, output.tokens)]
    ]


def logps(model: Any, prompt: list[int], output: list[int]) -> torch.Tensor:
    scores = model(torch.tensor([prompt + output])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return torch.stack([scores[place, token] for place, token in enumerate(output)])


AVERAGES: dict[str, Callable[[list[torch.Tensor], int], torch.Tensor]] = {
    "grpo": lambda terms, outputs: sum(term.mean() for term in terms) / outputs,
    "dapo": lambda terms, outputs: torch.cat(terms).mean(),
    "dr_grpo": lambda terms, outputs: torch.cat(terms).sum() / (outputs * MOST_TOKENS),
}


class PlainGRPO:
    """A policy phase on given rollouts; the reference is the policy as it starts."""

    def __init__(self, policy: Any, tokenizer: Any, average: str, masked: bool) -> None:
        self.policy, self.reference = policy, copy.deepcopy(policy)
        self.optimizer = torch.optim.AdamW(policy.parameters(), lr=RATE, weight_decay=0)
        self.tokenizer, self.average, self.masked = tokenizer, AVERAGES[average], masked
        self.logs: list[dict[str, float]] = []
        self.clipped: list[float] = []

    def row(self, output: Rollout) -> tuple[list[int], list[int]]:
        number = output.problem_id.removeprefix("toy/")
        ids = self.tokenizer(output.text)["input_ids"]
        eos = [self.tokenizer.eos_token_id] if output.finish is Finish.STOP else []
        return self.tokenizer(f"{number}+{number}=")["input_ids"], ids + eos

    def explore(self, outputs: list[Rollout]) -> None:
        """Make all updates on one generation."""
        groups = [outputs[i : i + G] for i in range(0, len(outputs), G)]
        advantages = [torch.tensor(row) for group in groups for row in token_advantages(group)]
        rows = [self.row(output) for output in outputs]
        with torch.no_grad():
            old = [logps(self.policy, *row) for row in rows]
            reference = [logps(self.reference, *row) for row in rows]
        for _ in range(UPDATES):
            terms: list[torch.Tensor] = []
            clipped: list[torch.Tensor] = []
            for index, (row, advantage) in enumerate(zip(rows, advantages, strict=True)):
                if self.masked and outputs[index].finish is Finish.LENGTH:
                    continue
                new = logps(self.policy, *row)
                gap = reference[index] - new
                kl = gap.exp() - gap - 1
                ratio = (new - old[index]).exp()
                bounded = ratio.clamp(1 - EPSILON, 1 + EPSILON)
                terms.append(BETA * kl - torch.minimum(ratio * advantage, bounded * advantage))
                clipped.append(((bounded - ratio) * advantage < 0).double())
            loss = self.average(terms, len(rows))
            self.optimizer.zero_grad()
            loss.backward()
            norm = clip_grad_norm_(self.policy.parameters(), 1.0)
            self.optimizer.step()
            self.logs.append({"loss": float(loss.detach()), "grad_norm": float(norm)})
            self.clipped.append(float(torch.cat(clipped).mean()))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("average", AVERAGES)
def test_steps_are_the_papers(
    average: str, masked: bool, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    path = tiny_policy(0, torch.float64)
    rollouts: list[tuple[int, list[Rollout]]] = []
    trainer = make(
        path, tmp_path, "lines", rollouts,
        model=exact(AutoModelForCausalLM.from_pretrained(path)),
        num_iterations=UPDATES, max_steps=2 * UPDATES, learning_rate=RATE, beta=BETA,
        epsilon=EPSILON, max_completion_length=MOST_TOKENS, loss_type=average,
        mask_truncated_completions=masked, logging_steps=1,
    )  # fmt: skip
    tokenizer = trainer.processing_class
    trainer._rows = EngineRows(GivenEngine(tokenizer, first=0))
    trainer.train()

    start = exact(AutoModelForCausalLM.from_pretrained(path))
    plain = PlainGRPO(copy.deepcopy(start), tokenizer, average, masked)
    spreads = []
    for _, outputs in rollouts:
        assert {output.finish for output in outputs} == set(Finish)
        assert min(output.tokens for output in outputs) == 1
        plain.explore(outputs)
        groups = [outputs[i : i + G] for i in range(0, len(outputs), G)]
        spreads.append(statistics.fmean(statistics.stdev(pooled(group)) for group in groups))
    logged = [row for row in trainer.state.log_history if "loss" in row]
    assert len(logged) == len(plain.logs) == 2 * UPDATES
    for found, expected in zip(logged, plain.logs, strict=True):
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert [row["reward_std"] for row in logged[::UPDATES]] == pytest.approx(spreads)
    assert logged[0]["kl"] == 0
    assert plain.clipped[0] == 0
    assert plain.clipped[1] > 0.1

    before = parameters_to_vector(start.parameters())
    moved, wanted = (
        parameters_to_vector(model.parameters()) - before for model in (trainer.model, plain.policy)
    )
    assert distance(moved, wanted) < 1e-5
