"""Qwen2.5-Math-PRM's convention (arXiv:2501.07301): a classifier read at "<extra_0>".

The chat's answer is its steps, each followed by "<extra_0>"; a head of two linear layers with ReLU
on the Qwen2 backbone gives two logits there, and the second one's probability scores the step. The
head is rebuilt here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from iterative_grpo.chat import written
from reward_models.encoding import UnfitTokenizer
from reward_models.published._heads import WithHead, stored
from reward_models.published._judge import (
    Judge,
    check_chat,
    pretrained,
    tokenizer_of,
    without,
)

if TYPE_CHECKING:
    import torch

MARK = "<extra_0>"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
HEAD = ("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias")


def load(path_or_name: str, *, device: str | None = None, dtype: str | None = None) -> Judge:
    """Load backbone, head and tokenizer."""
    import torch
    from transformers import AutoModel

    weights = head_weights(path_or_name)
    backbone = pretrained(AutoModel, path_or_name, dtype)
    width = weights[0].shape[1]
    head = torch.nn.Sequential(
        torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 2)
    ).to(backbone.dtype)
    head.load_state_dict(
        {name.removeprefix("score."): part for name, part in zip(HEAD, weights, strict=True)}
    )
    model = WithHead(backbone, head)
    if device is not None:
        model.to(device)
    return judge(model, tokenizer_of(path_or_name))


def head_weights(path_or_name: str) -> list[torch.Tensor]:
    """Return the head's weights; UntrainedHead if the checkpoint has none."""
    return stored(path_or_name, HEAD, "Qwen2.5-Math-PRM")


def judge(model: Any, tokenizer: Any) -> Judge:
    """Return the judge of a loaded model; refuse a tokenizer that cannot see the mark."""
    found = tokenizer(MARK, add_special_tokens=False)["input_ids"]
    if len(found) != 1 or found[0] == tokenizer.unk_token_id:
        raise UnfitTokenizer(
            f"the tokenizer does not know {MARK!r} as one token; a model of this convention does"
        )
    check_chat(tokenizer)
    mark = found[0]

    def render(question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
        # A mark that the policy wrote would be read as the end of a step.
        answer = "".join(without(step, MARK) + MARK for step in steps)
        chat = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": without(question, MARK)},
            {"role": "assistant", "content": answer},
        ]
        text = written(tokenizer, chat)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids, [place for place, token in enumerate(ids) if token == mark]

    return Judge(model, render, _second, tokenizer.pad_token_id or 0)


def _second(logits_N2: torch.Tensor) -> torch.Tensor:
    return logits_N2.softmax(dim=-1)[:, 1]
