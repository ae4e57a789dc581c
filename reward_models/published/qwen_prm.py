"""Qwen2.5-Math-PRM's convention (arXiv:2501.07301): a classifier read at "<extra_0>".

The chat's answer is its steps, each followed by "<extra_0>"; a head of two linear layers with ReLU
on the Qwen2 backbone gives two logits there, and the second one's probability scores the step. The
head is rebuilt here, so that no code of the checkpoint runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from reward_models.encoding import UnfitTokenizer
from reward_models.model import UntrainedHead
from reward_models.published._judge import Judge, context_of

if TYPE_CHECKING:
    import torch

MARK = "<extra_0>"
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
HEAD = ("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias")


def load(path_or_name: str, *, device: str | None = None, dtype: str | None = None) -> Judge:
    """Load backbone, head and tokenizer."""
    from transformers import AutoModel, AutoTokenizer

    auto: Any = AutoModel
    backbone = auto.from_pretrained(path_or_name, dtype=dtype or "auto", trust_remote_code=False)
    model = Classifier(backbone, *(part.to(backbone.dtype) for part in _head(path_or_name)))
    if device is not None:
        model.to(device)
    return judge(model, AutoTokenizer.from_pretrained(path_or_name))


class Classifier:
    """The backbone with its head: gives an object with `logits` (B, T, 2), as a classifier does."""

    def __init__(self, backbone: Any, *head: torch.Tensor) -> None:
        self.backbone, self.head = backbone.eval(), head
        self.config = backbone.config

    @property
    def device(self) -> Any:
        """Where the model lies."""
        return self.backbone.device

    def to(self, device: str) -> None:
        """Move the model."""
        self.backbone.to(device)
        self.head = tuple(weights.to(device) for weights in self.head)

    def __call__(self, *, input_ids: Any, attention_mask: Any) -> SimpleNamespace:
        """Return the logits (B, T, 2) under the name that classifiers give them."""
        from torch.nn import functional

        hidden_BTD = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        first, first_bias, second, second_bias = self.head
        inner_BTD = functional.relu(functional.linear(hidden_BTD, first, first_bias))
        return SimpleNamespace(logits=functional.linear(inner_BTD, second, second_bias))


def judge(model: Any, tokenizer: Any) -> Judge:
    """Return the judge of a loaded model; refuse a tokenizer that cannot see the mark."""
    found = tokenizer(MARK, add_special_tokens=False)["input_ids"]
    if len(found) != 1 or found[0] == tokenizer.unk_token_id:
        raise UnfitTokenizer(
            f"the tokenizer does not know {MARK!r} as one token; a model of this convention does"
        )
    mark = found[0]

    def render(question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
        # A mark that the policy wrote would be read as the end of a step.
        answer = "".join(step.replace(MARK, "") + MARK for step in steps)
        chat = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question.replace(MARK, "")},
            {"role": "assistant", "content": answer},
        ]
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids, [place for place, token in enumerate(ids) if token == mark]

    return Judge(model, render, _second, tokenizer.pad_token_id or 0, context_of(model))


def _second(logits_N2: torch.Tensor) -> torch.Tensor:
    return logits_N2.softmax(dim=-1)[:, 1]


def _head(path_or_name: str) -> list[torch.Tensor]:
    """Return the head's weights from the checkpoint's safetensors, sharded or not."""
    from safetensors import safe_open
    from transformers.utils.hub import cached_file

    index = cached_file(
        path_or_name, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False
    )
    if index is None:
        files = dict.fromkeys(HEAD, "model.safetensors")
    else:
        files = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
    weights = []
    for name in HEAD:
        path = cached_file(path_or_name, files.get(name, "model.safetensors"))
        with safe_open(path, framework="pt") as stored:
            if name not in set(stored.keys()):
                raise UntrainedHead(
                    f"{path_or_name}: has no {name}; not a checkpoint of Qwen2.5-Math-PRM's shape"
                )
            weights.append(stored.get_tensor(name))
    return weights
